"""Clips made in a process of their own, at low priority, so that a long copy does not slow the server down.

Owns that process from the request to its end, and its scratch file, which is deleted however either side ends. A file
that crashes FFmpeg ends this process only, never the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedReader

from recorder.playback.export import ExportError
from recorder.playback.queries import Playback
from recorder.segments.outputs import MuxError
from recorder.store.directory import Store

_CHECK_INTERVAL_S: Final = 0.25
"""The time between two checks whether the clip is still wanted."""
EXIT_TIMEOUT_S: Final = 1.0
"""The time that the process has to clean up before it is interrupted, and then killed."""
_NICENESS: Final = 10
_ROOT: Final = Path(__file__).parents[2]


class ClipError(RuntimeError):
    """There is no clip. `reason` says why.

    `nothing`: nothing was recorded in the span. `conflict`: one file cannot hold it. `failed`: this machine could not.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ClipSpan(NamedTuple):
    """The producer and the time that a clip covers, in microseconds since 1970."""

    room: str
    peer: str
    since_us: int
    until_us: int


async def make(directory: Path, span: ClipSpan, *, wanted: Callable[[], bool]) -> tuple[AsyncBufferedReader, str]:
    """Makes a clip. Returns it as an open file, already deleted from its directory, and the suffix it had.

    Raises ClipError if there is none, or as soon as `wanted()` returns False.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "recorder.playback.clip"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},  # the same code, whatever the working directory
    )
    to_process, output = process.stdin, process.stdout
    if to_process is None or output is None:
        raise RuntimeError("the process has no pipes")
    try:
        to_process.write(_request(directory, span))
        answer = await _read_answer(output, wanted)
        if "path" in answer:
            path = Path(answer["path"])
            return await aiofiles.open(path, "rb"), path.suffix
        raise ClipError(answer.get("reason", "failed"), answer.get("message", "the process that made the clip ended"))
    finally:
        to_process.close()
        await _end(process)


def _request(directory: Path, span: ClipSpan) -> bytes:
    return json.dumps([str(directory.resolve()), *span]).encode() + b"\n"


async def _read_answer(output: asyncio.StreamReader, wanted: Callable[[], bool]) -> dict[str, str]:
    line = asyncio.ensure_future(output.readline())
    try:
        while not line.done():
            if not wanted():
                raise ClipError("failed", "the clip is not wanted any more")
            await asyncio.wait([line], timeout=_CHECK_INTERVAL_S)
        return dict(json.loads(line.result() or b"{}"))
    finally:
        line.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Waits until the process has ended: it does so at the end of its input, or when interrupted, or is killed."""
    for number in (None, signal.SIGINT, signal.SIGKILL):
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_TIMEOUT_S):
                await process.wait()
                return


def _work() -> None:
    """Runs the process: reads a request from standard input, answers on standard output, keeps the file till EOF."""
    os.nice(_NICENESS)
    directory, *span = json.loads(sys.stdin.readline())
    playback = Playback(Store(Path(directory)))
    try:
        with playback.clip(*span) as path:
            _answer(path=str(path))
            sys.stdin.read()
    except ExportError as error:
        _answer(reason="conflict" if playback.has(*span) else "nothing", message=str(error))
    except (MuxError, OSError) as error:
        _answer(reason="failed", message=str(error))


def _answer(**fields: str) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _work()
