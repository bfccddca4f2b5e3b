"""`sfu serve` and other commands as processes of their own."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.helpers.waiting import PATIENCE_S

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SFU_")}


class Process:
    """One command and all that it wrote to `output`."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.StreamReader | None) -> None:
        self.log = ""
        self._process = process
        self._reading = asyncio.create_task(self._read(output))

    async def _read(self, output: asyncio.StreamReader | None) -> None:
        assert output is not None
        async for line in output:
            self.log += line.decode()

    @property
    def catches_sigterm(self) -> bool:
        """True once its own handler would take a SIGTERM."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    @property
    def shown_arguments(self) -> str:
        """What `ps` shows of it."""
        return Path(f"/proc/{self._process.pid}/cmdline").read_text(encoding="utf-8").replace("\0", " ")

    @property
    def lives(self) -> bool:
        return self._process.returncode is None

    def limits(self) -> str:
        """Returns the limits that the kernel holds it to."""
        return Path(f"/proc/{self._process.pid}/limits").read_text()

    def terminate(self) -> None:
        self._process.terminate()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
            return await self._process.wait()


@asynccontextmanager
async def sfu(*arguments: str, descriptors: tuple[int, int] | None = None, **variables: str) -> AsyncIterator[Process]:
    """Runs the server on free ports, in the test's mode of access; `descriptors`: its soft and hard limit of them."""

    def limit() -> None:
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sfu", "serve", "--http", "127.0.0.1:0", "--set", "media.port=0"),
        *("--set", "media.bind=127.0.0.1", "--set", "media.announce=127.0.0.1", *arguments),
        stderr=asyncio.subprocess.PIPE,
        env=_environment(variables, "SFU_ACCESS__MODE"),
        preexec_fn=limit,  # a test starts no threads before
    )
    async with _ending(process, process.stderr) as served:
        yield served


@asynccontextmanager
async def command(*arguments: str, module: str = "sfu", **variables: str) -> AsyncIterator[Process]:
    """`sfu` or `recorder` with these arguments, in the default mode of access; its log has stdout too."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=_environment(variables),
    )
    async with _ending(process, process.stdout) as started:
        yield started


def _environment(variables: dict[str, str], *kept: str) -> dict[str, str]:
    """A process of a test leaves nothing in the home of its user either. `kept`: more variables that it sees."""
    seen = {name: value for name, value in os.environ.items() if name in ("SFU_STATE", *kept)}
    return ENVIRONMENT | seen | variables


@asynccontextmanager
async def _ending(process: asyncio.subprocess.Process, output: asyncio.StreamReader | None) -> AsyncIterator[Process]:
    started = Process(process, output)
    try:
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await started.ended()
