"""How `sfu demo` ends: at once and without complaints, although the signal reaches its broker's process too."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.server_process import ENVIRONMENT
from tests.helpers.waiting import PATIENCE_S, until

_END_S = 15.0
"""5 s are promised; this machine may be busy."""


def heeds(process: asyncio.subprocess.Process, number: signal.Signals) -> bool:
    """Returns True if the process has a handler for the signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("moment", "number"), [("starting", signal.SIGTERM), ("live", signal.SIGTERM), ("live", signal.SIGINT)]
)
async def test_the_demo_ends_at_once_and_without_complaints(
    tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sfu", "demo", "--cameras", "2", "--http", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=ENVIRONMENT | {"XDG_STATE_HOME": str(tmp_path)},
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        if moment == "starting":
            await until(lambda: heeds(process, number))
        else:
            async with asyncio.timeout(2 * PATIENCE_S):
                assert b"2 cameras live" in await process.stdout.readline()
                assert b"room demo on" in await process.stdout.readline()
        began = time.monotonic()
        os.killpg(process.pid, number)  # as a terminal and systemd do
        rest = (await asyncio.wait_for(process.stdout.read(), PATIENCE_S)).decode()
        assert await process.wait() == 0, rest
        assert not [line for line in rest.splitlines() if "WARNING" in line or "ERROR" in line or "Traceback" in line]
        assert time.monotonic() - began < _END_S
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
