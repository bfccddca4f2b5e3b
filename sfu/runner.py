"""The event loop of a process: its start, its end by SIGTERM or Ctrl-C, waiting for that end, and its descriptors.

Owns these. Never knows the work that runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Final, TypeVar

from sfu.credentials import masked

_log = logging.getLogger(__name__)

T = TypeVar("T")

_KILLED: Final = 1
"""Exit code after the second signal."""


def run_until_signal(work: Callable[[asyncio.Event], Awaitable[int]], log_level: str) -> int:
    """Runs `work` and returns its exit code. Logs to stderr, without passwords.

    `work` gets an event that the first SIGTERM or SIGINT sets. The second signal ends the process at once.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Masking("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=log_level.upper(), handlers=[handler])
    sys.excepthook = _log_fault
    threading.excepthook = lambda end: _log_fault(end.exc_type, end.exc_value, end.exc_traceback)
    raise_descriptor_limit()
    return _new_runner().run(_with_stop(work))


def raise_descriptor_limit() -> None:
    """Raises the number of descriptors that this process may have to the most that it may choose itself.

    The default of many systems is 1,024, which a few hundred pages use up: each needs two.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Masking(logging.Formatter):
    """Hides passwords of URLs in all that is logged, in texts of exceptions too."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


def _log_fault(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Logs an exception that nobody caught."""
    if error is not None and not issubclass(kind, SystemExit):
        _log.critical("internal error", exc_info=(kind, error, trace))


def _new_runner() -> asyncio.Runner:
    """Makes a runner with uvloop if it is installed: it needs a fifth less CPU for each packet."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _with_stop(work: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(_KILLED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return await work(stop)


async def in_daemon_thread(work: Callable[[], T], name: str) -> T:
    """Runs blocking `work` in a thread for which the end of the process does not wait; returns what it returns."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[], None]) -> None:
        if not done.done():
            settled()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # raised again where it is awaited
            settled: Callable[[], None] = partial(done.set_exception, error)
        else:
            settled = partial(done.set_result, result)
        with contextlib.suppress(RuntimeError):  # the event loop is closed: the process is ending
            loop.call_soon_threadsafe(settle, settled)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done


async def unless_stopped(stop: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """Returns what `work` returns; None if `stop` is set before, which cancels it."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    return None if working.cancelled() else working.result()


async def wait_for_stop(stop: asyncio.Event, seconds: float | None) -> bool:
    """Waits until `stop` is set, at most `seconds` (None: without a limit); returns True if it was set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True


async def until_first(*coroutines: Coroutine[None, None, object]) -> None:
    """Runs all coroutines until one returns or raises, cancels the others, then raises its exception, if any."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
