#!/bin/sh
# The seams to C under valgrind: `tests/benchmarks/valgrind.sh [tests]`, from the root, with the development environment active.
# Debian's python3 runs it, as valgrind has suppressions for that one; it must be of the environment's version.
packages=$(python -c 'import site; print(site.getsitepackages()[0])')
[ $# -gt 0 ] || set -- tests/integration/rtc/test_send.py tests/integration/rtc/test_receive.py tests/integration/loadtest/test_datagram_batch.py
PYTHONPATH=.:$packages PYTHONMALLOC=malloc PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 exec \
	valgrind --error-exitcode=99 --num-callers=24 --suppressions=/usr/lib/valgrind/python3.supp \
	--suppressions=tests/benchmarks/valgrind.supp \
	/usr/bin/python3 -m pytest -q -c /dev/null --rootdir . -p no:cacheprovider "$@"
