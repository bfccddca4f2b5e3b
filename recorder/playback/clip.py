"""Clips made in a process of their own: the server's threads have better to do than an hour's copying.

Owns that process, from its request to its end, and the scratch file, which nobody finds afterwards however either side
ends. The process works at low priority, and a file that FFmpeg cannot bear takes down no more than it.
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
from recorder.segments.muxer import MuxError
from recorder.store.directory import Store

_LOOK: Final = 0.25  # seconds between two looks whether somebody still waits
_GRACE: Final = 1.0  # seconds to clean up
_NICE: Final = 10
_ROOT: Final = Path(__file__).parents[2]


class ClipError(RuntimeError):
    """There is no clip: `nothing` was recorded, no one file holds it (`conflict`), or this machine `failed`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ClipSpan(NamedTuple):
    """What a clip is to hold; wall times in us since 1970."""

    room: str
    peer: str
    since_us: int
    until_us: int


async def make(directory: Path, span: ClipSpan, *, wanted: Callable[[], bool]) -> tuple[AsyncBufferedReader, str]:
    """The clip as an open file without a name, and its suffix. ClipError, also when it is not `wanted` any more."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "recorder.playback.clip"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},  # the same code, wherever this was started
    )
    to_process, output = process.stdin, process.stdout
    if to_process is None or output is None:
        raise RuntimeError("pipes were asked for")
    try:
        to_process.write(_request(directory, span))
        answer = await _heard(output, wanted)
        if "path" in answer:
            path = Path(answer["path"])
            return await aiofiles.open(path, "rb"), path.suffix
        raise ClipError(answer.get("reason", "failed"), answer.get("message", "the clip's process ended"))
    finally:
        to_process.close()
        await _end(process)


def _request(directory: Path, span: ClipSpan) -> bytes:
    return json.dumps([str(directory.resolve()), *span]).encode() + b"\n"


async def _heard(output: asyncio.StreamReader, wanted: Callable[[], bool]) -> dict[str, str]:
    line = asyncio.ensure_future(output.readline())
    try:
        while not line.done():
            if not wanted():
                raise ClipError("failed", "nobody waits for it any more")
            await asyncio.wait([line], timeout=_LOOK)
        return dict(json.loads(line.result() or b"{}"))
    finally:
        line.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    """The end of its input tells a process that is done to clean up; one at work is interrupted."""
    for number in (None, signal.SIGINT, signal.SIGKILL):
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await process.wait()
                return


def _work() -> None:
    """The process: a request on standard input, the answer on standard output, and the file kept until input ends."""
    os.nice(_NICE)
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


def _answer(**words: str) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _work()
