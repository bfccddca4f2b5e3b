"""A server that records, killed at random moments: its files are repaired by the next one, and lose 1.1 s at most.

By hand: `python -m tests.benchmarks.kill_recordings --times 50 [--seed 1]`; prints what each kill cost each camera.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from recorder.store.directory import Segment, Store
from recorder.store.index import layout_of
from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.brokers import Mosquitto
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.programs import need
from tests.helpers.recordings import complaints
from tests.helpers.server_process import sfu
from tests.helpers.waiting import until

MOST_LOST_S = 1.1
CAMERAS = {"both": "libx264", "sound": None}
"""By peer: the encoder of the picture, None for sound alone."""


@contextlib.asynccontextmanager
async def cameras(url: BrokerUrl, directory: Path) -> AsyncIterator[None]:
    """One of each kind in the room `yard`."""
    async with contextlib.AsyncExitStack() as stack:
        for peer, encoder in CAMERAS.items():
            source = make_file(directory / f"{peer}.mp4", video=encoder, options={"bf": "0"} if encoder else None)
            await stack.enter_async_context(camera(url, f"yard/pub/{peer}", source))
        yield


def arguments(url: BrokerUrl, directory: Path) -> tuple[str, ...]:
    """Returns the arguments with which `sfu serve` records everything."""
    settings = ("access.mode=open", "recording.mode=always", f"recording.dir={directory}")
    return ("--broker", str(url), *(word for setting in settings for word in ("--set", setting)))


def newest(directory: Path) -> dict[str, Segment]:
    """The last segment of each camera."""
    segments = sorted(Store(directory).walk(), key=lambda segment: segment.start_us)
    return {segment.peer: segment for segment in segments}


async def killed(url: BrokerUrl, directory: Path, seconds: float) -> dict[str, float]:
    """Seconds that each camera's recording lacks at its end, after a kill so long after both were being recorded.

    The next server repairs them, records as well, and is ended in order: that costs nothing.
    """
    async with sfu(*arguments(url, directory)) as process:
        await _recorded(directory)
        await asyncio.sleep(seconds)
        killed_at = time.time()
        process.signal(signal.SIGKILL)
        await process.ended()
    left = newest(directory)
    async with sfu(*arguments(url, directory)) as process:
        await _recorded(directory)
        await until(lambda: all(_whole(segment) for segment in left.values()))
        ended_at = time.time()
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0, process.log
        assert time.time() < ended_at + 5
    heard = [await asyncio.to_thread(complaints, segment.path) for segment in Store(directory).walk()]
    assert heard == [""] * len(heard)
    assert set(left) == set(CAMERAS)
    assert max(_lacks(segment, ended_at) for segment in newest(directory).values()) < 0.3
    return {peer: _lacks(segment, killed_at) for peer, segment in left.items()}


async def _recorded(directory: Path) -> None:
    """Returns when all cameras are being recorded anew."""
    before = set(newest(directory).values())
    await until(lambda: len(set(newest(directory).values()) - before) == len(CAMERAS))


def _lacks(segment: Segment, at: float) -> float:
    return at - (segment.start_us + layout_of(segment.path).duration_us) / 1e6


def _whole(segment: Segment) -> bool:
    return layout_of(segment.path).end == segment.path.stat().st_size


async def _main(times: int, seed: int) -> None:
    chance = random.Random(seed)
    lost: dict[str, list[float]] = {peer: [] for peer in CAMERAS}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        broker = Mosquitto(need("mosquitto"), root)
        async with cameras(broker.url, root):
            for number in range(times):
                seconds = chance.uniform(0.2, 4.0)
                found = await killed(broker.url, root / "recordings", seconds)
                for peer, missing in found.items():
                    lost[peer].append(missing)
                costs = ", ".join(f"{peer} {missing:.3f} s" for peer, missing in found.items())
                _say(f"{number + 1:3} killed after {seconds:.2f} s, lost: {costs}")
        broker.stop()
    for peer, all_lost in lost.items():
        _say(f"{peer}: {times} kills, lost median {statistics.median(all_lost):.3f} s, most {max(all_lost):.3f} s")
        assert max(all_lost) <= MOST_LOST_S


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    asyncio.run(_main(asked.times, asked.seed))
