"""A child process that replies to the parent's requests over a pipe.

Owns the start, the event loop and the end of the process. Never knows media.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol, cast

from sfu.loadtest.setup.worker_messages import Reply, Request, WorkerSetup
from sfu.runner import raise_descriptor_limit, until_first

_REPLY_S = 20.0
_END_S = 20.0


class WorkerError(Exception):
    """A worker process has ended or does not reply."""


class Worker(Protocol):
    """The work of one worker process: all cameras, or all viewers."""

    async def run(self) -> None:
        """Works until the process ends. It is then cancelled, and disconnects its peers."""

    def reply(self, request: Request) -> Reply:
        """Handles a request at once, and returns the reply."""


class WorkerProcess:
    """The parent's handle of one worker. An async context manager: the process ends with the block."""

    def __init__(self, create: Callable[[WorkerSetup], Worker], setup: WorkerSetup) -> None:
        """`create`, a class or function of a module, makes the worker in the child process."""
        # not a fork: it would copy the parent's event loop, but not its threads
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(target=_main, args=(other_end, create, setup), name="sfu load", daemon=True)
        self._turn = asyncio.Lock()
        self._process.start()
        other_end.close()

    async def __aenter__(self) -> WorkerProcess:
        return self

    def let_go(self) -> None:
        """Lets the process end, without waiting for it."""
        self._pipe.close()

    async def __aexit__(self, *_: object) -> None:
        self.let_go()
        await asyncio.to_thread(self._process.join, _END_S)
        if self._process.is_alive():
            self._process.kill()
            await asyncio.to_thread(self._process.join)

    async def ask(self, request: Request) -> Any:
        """Sends a request and returns the reply, of the type in `worker_messages`. Raises WorkerError without one."""
        async with self._turn:
            return await asyncio.to_thread(self._ask, request)

    def _ask(self, request: Request) -> Reply:
        try:
            self._pipe.send(request)
            if self._pipe.poll(_REPLY_S):
                return cast("Reply", self._pipe.recv())
        except (OSError, EOFError) as error:
            raise WorkerError(f"a process of the load test has ended (exit code {self._process.exitcode})") from error
        raise WorkerError(f"a process of the load test did not reply within {_REPLY_S:.0f} s")


def _main(pipe: Connection, create: Callable[[WorkerSetup], Worker], setup: WorkerSetup) -> None:
    """Runs the child process, until the parent closes the pipe or ends."""
    logging.basicConfig(level=logging.ERROR)  # failures are counted by reason instead of logged
    for number in (signal.SIGINT, signal.SIGTERM):  # for the parent, which then closes the pipe
        signal.signal(number, signal.SIG_IGN)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=setup.new_loop) as runner:
        runner.run(_serve(pipe, create, setup))


async def _serve(pipe: Connection, create: Callable[[WorkerSetup], Worker], setup: WorkerSetup) -> None:
    loop, over, worker = asyncio.get_running_loop(), asyncio.Event(), create(setup)

    def on_request() -> None:
        try:
            pipe.send(worker.reply(pipe.recv()))
        except (EOFError, OSError):
            loop.remove_reader(pipe.fileno())
            over.set()

    loop.add_reader(pipe.fileno(), on_request)
    await until_first(over.wait(), worker.run())
