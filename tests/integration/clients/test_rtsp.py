"""RTSP cameras that go away, come back as others, have their clock set, or do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable

import av
import pytest

from sfu.clients import source as source_module
from sfu.clients.encode import VideoEncoder
from sfu.clients.frames import Frame, MediaSource
from sfu.clients.input_tracks import EncodedVideo
from sfu.clients.inputs import opening
from sfu.clients.publish import publish
from sfu.clients.source import open_source
from tests.helpers.brokers import Mosquitto
from tests.helpers.rtsp_camera import PCM_STEREO, RATE, RtspCamera
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until

Start = Callable[..., Mosquitto]


@contextlib.asynccontextmanager
async def reading(source: MediaSource) -> AsyncIterator[list[tuple[float, Frame]]]:
    """Reads the source beside the body: (time of arrival, frame)."""
    seen: list[tuple[float, Frame]] = []

    async def read() -> None:
        async for frame in source.frames():
            seen.append((time.monotonic(), frame))  # noqa: PERF401  # others read the list meanwhile

    task = asyncio.create_task(read())
    try:
        yield seen
        assert not task.done()
    finally:
        await source.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def of(seen: list[tuple[float, Frame]], track: int) -> list[tuple[float, Frame]]:
    return [(at, frame) for at, frame in seen if frame.track == track]


async def test_a_camera_that_was_away_goes_on_with_media_time_as_the_wall_clock_did() -> None:
    camera = RtspCamera()
    async with camera.on():
        source = await open_source(camera.url)
        async with reading(source) as seen:
            await until(lambda: of(seen, 0) and of(seen, 1))
            await camera.hang_up()
            await until(lambda: camera.sessions == 2)
            count = len(seen)
            await until(lambda: len(of(seen[count:], 0)) > 60 and len(of(seen[count:], 1)) > 60)
    for track in (0, 1):
        times = [frame.seconds for _, frame in of(seen, track)]
        assert all(a < b for a, b in itertools.pairwise(times))
    at, frame = seen[-1]
    first_at, first = seen[count // 2]
    assert frame.seconds - first.seconds == pytest.approx(at - first_at, abs=1.5)
    assert source.counters.reopened == 1


async def test_a_clock_that_is_set_back_leaves_media_time_alone() -> None:
    camera = RtspCamera()
    async with camera.on():
        source = await open_source(camera.url)
        async with reading(source) as seen:
            await until(lambda: len(of(seen, 0)) > 20 and len(of(seen, 1)) > 20)
            camera.clock_shift = -3600.0
            count = len(seen)
            await until(lambda: len(of(seen[count:], 0)) > 60 and len(of(seen[count:], 1)) > 60)
    for track in (0, 1):
        times = [frame.seconds for _, frame in of(seen, track)]
        steps = [b - a for a, b in itertools.pairwise(times)]
        assert min(steps) > 0
        assert max(steps) < 1.0


async def test_a_camera_may_come_back_with_other_sound(caplog: pytest.LogCaptureFixture) -> None:
    camera = RtspCamera()
    async with camera.on():
        source = await open_source(camera.url)
        async with reading(source) as seen:
            for sound, tracks in ((PCM_STEREO, 2), (None, 1), (PCM_STEREO, 2)):
                camera.sound = sound
                sessions = camera.sessions
                await camera.hang_up()
                await until(lambda sessions=sessions: camera.sessions > sessions)
                count = len(seen)
                await until(lambda count=count: len(of(seen[count:], 0)) > 20)
                await until(lambda count=count, tracks=tracks: (len(of(seen[count:], 1)) > 20) == (tracks == 2))
                assert len(source.codecs) == tracks
    assert not [record for record in caplog.records if record.exc_info and record.levelname != "DEBUG"]


async def test_an_encoder_that_is_too_slow_leaves_pictures_out_instead_of_falling_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encode = VideoEncoder.encode

    def slowly(self: VideoEncoder, frame: av.VideoFrame, seconds: float) -> list[tuple[float, bytes, bool]]:
        time.sleep(3 / RATE)
        return list(encode(self, frame, seconds))

    monkeypatch.setattr(VideoEncoder, "encode", slowly)
    monkeypatch.setattr(source_module, "video_track", EncodedVideo)
    camera = RtspCamera(sound=None)
    async with camera.on():
        source = await open_source(camera.url)
        async with reading(source) as seen:
            await until(lambda: seen and seen[-1][0] - seen[0][0] > 6)
    late = [at - frame.seconds for at, frame in seen]
    assert late[-1] - min(late) < 2.5  # without leaving any out: 4
    assert source.counters.skipped > RATE
    assert len([record for record in caplog.records if "too slow" in record.message]) == 1


async def test_the_room_follows_a_camera_whose_sound_goes_and_comes(mosquitto: Start) -> None:
    broker, stop, camera = mosquitto(), asyncio.Event(), RtspCamera(sound=None)
    lines: list[str] = []

    def kinds() -> set[str]:
        return {track.codec.kind for p in service.server.participants.values() for track in p.tracks()}

    async with serving(broker.url) as service, camera.on():
        work = publish("yard", camera.url, peer_id="cam", broker=broker.url, stop=stop, report=lines.append)
        publishing = asyncio.create_task(work)
        await until(lambda: kinds() == {"video"})
        session = next(iter(service.server.participants.values())).session
        for sound, expected in ((PCM_STEREO, {"video", "audio"}), (None, {"video"}), (PCM_STEREO, {"video", "audio"})):
            camera.sound = sound
            await camera.hang_up()
            await until(lambda expected=expected: kinds() == expected)
        assert next(iter(service.server.participants.values())).session == session
        stop.set()
        assert await publishing == 0
    assert lines[2:] == ["the camera now has H264 and opus", "the camera now has H264", lines[2]]


async def test_a_camera_that_says_nothing_timed_out_and_a_stop_does_not_wait_for_it(
    mosquitto: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, camera = mosquitto(), RtspCamera(mute=True)
    async with camera.on():
        stop, lines = asyncio.Event(), list[str]()
        work = publish("yard", camera.url, broker=broker.url, stop=stop, report=lines.append)
        publishing = asyncio.create_task(work)
        await asyncio.sleep(0)
        stop.set()
        assert await asyncio.wait_for(publishing, PATIENCE_S / 10) == 0
        monkeypatch.setattr(opening, "TIMEOUT_S", 1.0)
        work = publish("yard", camera.url, broker=broker.url, stop=asyncio.Event(), report=lines.append)
        assert await asyncio.wait_for(work, PATIENCE_S) == 1
    assert lines == [f"cannot open {camera.url}: the camera did not answer within 1 s"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rtsp://admin:se@cret@no.such.host.invalid/x", "cannot resolve host no.such.host.invalid"),
        ("rtsp://admin:secret@127.0.0.1:1/x", "Connection refused"),
    ],
)
async def test_what_went_wrong_is_said_without_the_password(
    mosquitto: Start, url: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    code = await publish("yard", url, broker=mosquitto().url, stop=asyncio.Event(), report=lines.append)
    assert code == 1
    assert words in lines[0]
    assert "cret" not in lines[0] + "".join(capfd.readouterr())
    assert "Errno" not in lines[0]
