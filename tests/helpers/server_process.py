"""`sfu serve` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.helpers.waiting import PATIENCE_S

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SFU_")}


class Process:
    """One `sfu serve` and all that it wrote to stderr."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.log = ""
        self._process = process
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.log += line.decode()

    @property
    def lives(self) -> bool:
        return self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
            return await self._process.wait()


@asynccontextmanager
async def sfu(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sfu", "serve", "--http", "127.0.0.1:0", "--set", "media.port=0"),
        *("--set", "media.bind=127.0.0.1", "--set", "media.announce=127.0.0.1", *arguments),
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    served = Process(process)
    try:
        yield served
    finally:
        if process.returncode is None:
            process.kill()
        await served.ended()
