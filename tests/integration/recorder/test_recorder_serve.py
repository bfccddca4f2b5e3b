"""`recorder serve` as a process: it views rooms of a server elsewhere and records all that it is shown."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from recorder.store.directory import Segment, Store
from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.brokers import Mosquitto
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.recordings import complaints, probed
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SFU_")}


@asynccontextmanager
async def recorder(url: BrokerUrl, directory: Path, *rooms: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "recorder",
        "serve",
        *rooms,
        "--broker",
        str(url),
        "--dir",
        str(directory),
        env=ENVIRONMENT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def segments(directory: Path) -> list[Segment]:
    found = Store(directory).walk() if directory.is_dir() else ()
    return [segment for segment in found if segment.path.stat().st_size]


async def test_cameras_of_a_room_and_below_it_are_recorded_through_losses_of_broker_and_server(
    mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    """Four cameras: more than it has windows for at first."""
    broker = mosquitto()
    source = make_file(tmp_path / "source.mp4", seconds=2, options={"bf": "0", "g": "25"})
    directory = tmp_path / "recordings"
    leaves = [f"site/{place}/pub/cam" for place in ("gate", "yard", "hall", "roof")]
    async with recorder(broker.url, directory, "site", "site/gate") as process:
        async with serving(broker.url), AsyncExitStack() as cameras:
            for leaf in leaves:
                await cameras.enter_async_context(camera(broker.url, leaf, source))
            await until(lambda: {segment.room for segment in segments(directory)} == {leaf[:9] for leaf in leaves})
            before = {segment.path: segment.path.stat().st_size for segment in segments(directory)}
            broker.restart()
            await until(lambda: all(path.stat().st_size > size for path, size in before.items()))
            assert len(segments(directory)) == 4  # the broker is nothing to a recording
        async with serving(broker.url), camera(broker.url, leaves[0], source):
            await until(lambda: sum(segment.room == "site/gate" for segment in segments(directory)) == 2)
            asked_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            assert time.monotonic() - asked_at < 5
    gate = [segment for segment in segments(directory) if segment.room == "site/gate"]
    for segment in gate:
        assert complaints(segment.path) == ""
        assert {kind: seen.codec for kind, seen in probed(segment.path).items()} == {"video": "h264", "audio": "opus"}
