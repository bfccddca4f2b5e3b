"""A child process that does as it is asked over a pipe. Owns its birth, event loop and end; knows nothing of media."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import resource
import signal
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol, cast

from sfu.loadtest.setup.worker_messages import Reply, Request, WorkerSetup

_ANSWER_S = 20.0
_END_S = 20.0


class WorkerError(Exception):
    """A child process has gone, or does not answer."""


class Worker(Protocol):
    """What lives in a child: all cameras, or all viewers."""

    async def run(self) -> None:
        """For as long as the process lives; cancelled at its end, when it takes leave of the server."""

    def answer(self, order: Request) -> Reply:
        """Does as asked, at once."""


class WorkerProcess:
    """The parent's side of one child. An async context manager: the child lives as long as its body runs."""

    def __init__(self, create: Callable[[WorkerSetup], Worker], setup: WorkerSetup) -> None:
        """`create`, a class or function of a module, makes the child's party in the child."""
        # not a fork: the parent has threads and an event loop, which do not survive one
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(theirs, create, setup), name="sfu load", daemon=True)
        self._turn = asyncio.Lock()
        self._process.start()
        theirs.close()

    async def __aenter__(self) -> WorkerProcess:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipe.close()
        await asyncio.to_thread(self._process.join, _END_S)
        if self._process.is_alive():
            self._process.kill()
            await asyncio.to_thread(self._process.join)

    async def ask(self, order: Request) -> Any:
        """The answer, whose type `orders` says. WorkerError when there is none."""
        async with self._turn:
            return await asyncio.to_thread(self._ask, order)

    def _ask(self, order: Request) -> Reply:
        try:
            self._pipe.send(order)
            if self._pipe.poll(_ANSWER_S):
                return cast("Reply", self._pipe.recv())
        except (OSError, EOFError) as error:
            raise WorkerError(f"a process of the load test has ended (exit code {self._process.exitcode})") from error
        raise WorkerError(f"a process of the load test did not answer within {_ANSWER_S:.0f} s")


def _live(pipe: Connection, create: Callable[[WorkerSetup], Worker], setup: WorkerSetup) -> None:
    """The child's whole life: it ends when the parent closes the pipe, or dies."""
    logging.basicConfig(level=logging.ERROR)  # what fails is counted, by its reason
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, which then closes the pipe
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=setup.new_loop) as runner:
        runner.run(_serve(pipe, create, setup))


async def _serve(pipe: Connection, create: Callable[[WorkerSetup], Worker], setup: WorkerSetup) -> None:
    loop, over, party = asyncio.get_running_loop(), asyncio.Event(), create(setup)

    def on_order() -> None:
        try:
            pipe.send(party.answer(pipe.recv()))
        except (EOFError, OSError):
            loop.remove_reader(pipe.fileno())
            over.set()

    loop.add_reader(pipe.fileno(), on_order)
    await _until(over.wait(), party.run())


async def _until(over: Awaitable[object], work: Awaitable[None]) -> None:
    """Runs `work` until `over`, then cancels it and waits; what `work` raised is raised."""
    ending, working = asyncio.ensure_future(over), asyncio.ensure_future(work)
    await asyncio.wait({ending, working}, return_when=asyncio.FIRST_COMPLETED)
    for task in (ending, working):
        task.cancel()
    await asyncio.wait({ending, working})
    if not working.cancelled():
        working.result()
