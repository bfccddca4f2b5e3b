"""Feeds one reader of remote bytes, or each in turn, with changed bytes, guided by the code that they reach.

By hand: `pip install atheris`, then `python -m tests.benchmarks.fuzz [NAME ...] --seconds 60`. Without
atheris the bytes are changed at random. Prints the bytes that raise what they may not, and exits with 1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.helpers.remote_parsers import RemoteParser


def once(parser: RemoteParser, data: bytes) -> None:
    """Calls the parser; lets through what it may not raise."""
    try:
        parser.call(data)
    except parser.raises:
        return


def at_random(name: str, seconds: float) -> int:
    """Returns the number of calls; raises the first exception that is no refusal."""
    table = importlib.import_module("tests.helpers.remote_parsers")
    parser, rng, calls = table.PARSERS[name], random.Random(time.time_ns()), 0
    seeds, end = parser.seeds(), time.monotonic() + seconds
    while time.monotonic() < end:
        data = table.changed(rng.choice(seeds), rng)
        calls += 1
        try:
            once(parser, data)
        except Exception:
            sys.stderr.write(f"{name}: {data!r}\n")
            raise
    return calls


def guided(name: str, seconds: float) -> None:
    """Runs atheris until `seconds` are over; the process ends with it."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 - not a dependency

    # Only what is imported in here is followed; all else would take a minute to prepare.
    with atheris.instrument_imports(include=["sfu", "recorder"], enable_loader_override=False):
        parser = importlib.import_module("tests.helpers.remote_parsers").PARSERS[name]
    corpus = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for number, seed in enumerate(parser.seeds()):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], f"-max_total_time={round(seconds)}", str(corpus)], lambda data: once(parser, data))
    atheris.Fuzz()


def main() -> int:
    """Returns 1 if any parser raised what it may not."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME")
    arguments.add_argument("--seconds", type=float, default=60.0, help="for each parser")
    arguments.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.guided:
        guided(given.names[0], given.seconds)
        return 0
    failed = []
    for name in given.names or importlib.import_module("tests.helpers.remote_parsers").PARSERS:
        if importlib.util.find_spec("atheris") is None:
            sys.stdout.write(f"{name}: {at_random(name, given.seconds)} calls\n")
            continue
        command = [sys.executable, "-m", __spec__.name, name, "--seconds", str(given.seconds), "--guided"]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    sys.stdout.write(f"failed: {', '.join(failed) or 'none'}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
