"""Live inputs: sent as they come, opened again when they break off, media time still growing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from fractions import Fraction
from pathlib import Path

import av
import pytest

from sfu.clients.frames import Frame
from sfu.clients.source import open_source
from tests.helpers.brokers import free_port
from tests.helpers.media import make_file
from tests.helpers.waiting import PATIENCE_S


def jpeg() -> bytes:
    """Returns one picture."""
    picture = av.VideoFrame(64, 48, "yuvj420p")
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, "yuvj420p", Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])


PICTURE = jpeg()


async def feed(port: int, data: bytes) -> None:
    """Plays the camera: connects until somebody listens, sends a transport stream, hangs up."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            await asyncio.sleep(0.05)
        writer.write(data)
        await writer.drain()
        writer.close()


async def test_a_live_input_that_breaks_off_comes_back_with_growing_media_time(tmp_path: Path) -> None:
    path = make_file(tmp_path / "camera.ts", audio=None, seconds=1, options={"bf": "0"})
    port, data = free_port(), path.read_bytes()
    feeding = asyncio.create_task(feed(port, data))
    source = await open_source(f"tcp://127.0.0.1:{port}?listen=1")
    assert source.live
    seen: list[Frame] = []
    async with asyncio.timeout(PATIENCE_S):
        async for frame in source.frames():
            seen.append(frame)
            if len(seen) == 25:
                await feeding
                feeding = asyncio.create_task(feed(port, data))
            if len(seen) == 40:
                break
    await source.close()
    await feeding
    times = [frame.seconds for frame in seen]
    assert times == sorted(set(times))
    assert times[0] < 0.01
    assert source.counters.reopened == 1
    assert seen[25].key
    assert av.CodecContext.create("h264", "r").decode(av.Packet(seen[25].data)) is not None


async def serve_pictures(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Plays a camera that sends JPEG pictures over HTTP, ten a second, and tells no times."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        while True:
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
            writer.write(head.encode() + PICTURE + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)


async def test_pictures_without_times_have_the_times_at_which_they_come() -> None:
    server = await asyncio.start_server(serve_pictures, "127.0.0.1", 0)
    async with server:
        source = await open_source(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/video.mjpg")
        seen: list[tuple[float, float]] = []
        async with asyncio.timeout(PATIENCE_S):
            async for frame in source.frames():
                seen.append((time.monotonic(), frame.seconds))
                if seen[-1][0] - seen[0][0] > 3:
                    break
        await source.close()
    passed = seen[-1][0] - seen[0][0]
    assert seen[-1][1] - seen[0][1] == pytest.approx(passed, abs=1.0)
