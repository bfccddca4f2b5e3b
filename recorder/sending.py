"""Files sent to readers of any speed, except to those that stop.

Owns the watch over a reader: it ends when it takes nothing for a while, or when the file loses its name. Never decides
what is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import struct
import termios
from collections.abc import Callable, Coroutine
from typing import Final

from aiofiles.threadpool.binary import AsyncBufferedReader

Write = Callable[[bytes], Coroutine[None, None, None]]

CHUNK_BYTES: Final = 256 * 1024
STALL_S: Final = 30.0
"""A reader that takes nothing for this long is disconnected, and what it held is freed."""
_CHECK_INTERVAL_S: Final = 0.5


async def send_file(
    file: AsyncBufferedReader,
    at: int,
    end: int,
    write: Write,
    transport: asyncio.Transport,
    *,
    stall_s: float = STALL_S,
) -> None:
    """Sends the bytes [at, end) of a file by `write`, which waits while `transport` has enough to send.

    Raises ConnectionError if the reader left or stopped to read, or if the file was deleted or became shorter.
    """
    await file.seek(at)
    while at < end:
        data = await file.read(min(CHUNK_BYTES, end - at))
        if not data:
            raise ConnectionError("the file became shorter while it was sent")
        await _send(data, write, transport, file.fileno(), stall_s)
        at += len(data)


async def _send(data: bytes, write: Write, transport: asyncio.Transport, file: int, stall_s: float) -> None:
    """Sends a chunk, and watches that the reader takes something meanwhile."""
    clock = asyncio.get_running_loop().time
    writing = asyncio.ensure_future(write(data))
    try:
        least, since = math.inf, clock()
        while not (await asyncio.wait([writing], timeout=_CHECK_INTERVAL_S))[0]:
            unsent, now = _unsent_bytes(transport), clock()
            if unsent < least:
                least, since = float(unsent), now
            if now - since >= stall_s:
                raise ConnectionError(f"the reader took nothing for {stall_s:g} s")
            if os.fstat(file).st_nlink == 0:
                raise ConnectionError("the file was deleted while it was sent")
        await writing
    finally:
        writing.cancel()


def _unsent_bytes(transport: asyncio.Transport) -> int:
    """Returns the bytes that the reader has not confirmed yet, here and in the kernel."""
    unsent = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            unsent += struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return unsent
