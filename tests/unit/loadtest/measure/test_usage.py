"""CPU and memory of processes and their children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfu.loadtest.measure.usage import usage


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_children_count_too() -> None:
    program = "x = bytearray(50_000_000); print('up', flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        own, whole = usage(child.pid), usage(os.getpid())
        child.communicate("\n")
    assert own is not None
    assert whole is not None
    assert whole.rss_bytes > own.rss_bytes > 50_000_000
    assert whole.cpu_seconds > own.cpu_seconds >= 0


def test_a_process_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert usage(1, proc=tmp_path) is None
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "stat").write_text("1 (odd) name) S junk")
    assert usage(1, proc=tmp_path) is None
