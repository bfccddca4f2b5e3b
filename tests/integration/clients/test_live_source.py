"""Live inputs: sent as they come, opened again when they break off, media time still growing."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import av

from sfu.clients.frames import Frame
from sfu.clients.source import open_source
from tests.helpers.brokers import free_port
from tests.helpers.media import make_file
from tests.helpers.waiting import PATIENCE_S


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
