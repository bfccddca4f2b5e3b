"""Inputs become tracks of frames: untouched where RTP can carry them, encoded once where not, time always growing."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import av
import pytest

from recorder.store.directory import Store
from sfu.clients.encode import AudioEncoder, VideoEncoder
from sfu.clients.frame_queue import in_order
from sfu.clients.frames import Frame, MediaSource, SourceError
from sfu.clients.packetize import nal_type, nal_units
from sfu.clients.pattern import LOOP_SECONDS, Pattern
from sfu.clients.source import open_source
from tests.helpers.bombs import bomb
from tests.helpers.media import avcc_units, decoded, make_file, packets_of
from tests.helpers.recordings import Unit, record

BASELINE = {"bf": "0", "profile": "baseline", "tune": "zerolatency"}


async def take(source: MediaSource, *, until: float = float("inf")) -> list[Frame]:
    """The source's frames, to its end or to `until` seconds of media time."""
    frames = []
    async with asyncio.timeout(30):
        async for frame in source.frames():
            if frame.seconds >= until:
                break
            frames.append(frame)
    await source.close()
    return frames


def of(frames: list[Frame], track: int) -> list[Frame]:
    return [frame for frame in frames if frame.track == track]


async def test_h264_and_opus_pass_through_untouched(tmp_path: Path) -> None:
    path = make_file(tmp_path / "camera.mp4", options=BASELINE)
    source = await open_source(str(path))
    assert next((codec.name, codec.parameter("profile-level-id")) for codec in source.codecs) == ("H264", "42c00c")
    frames = await take(source)
    pictures, sound = of(frames, 0), of(frames, 1)
    stored = packets_of(path, "video")
    for picture, (_, sample) in zip(pictures, stored, strict=True):
        units = nal_units(picture.data)
        assert units[-1] == avcc_units(sample)[-1]
        if picture.key:
            assert [nal_type(unit) for unit in units][:2] == [7, 8]
    assert [data for _, data in packets_of(path, "audio")] == [packet.data for packet in sound]
    assert [picture.key for picture in pictures] == [number % 25 == 0 for number in range(50)]
    assert len(decoded("h264", [picture.data for picture in pictures])) == 50


async def test_frames_come_in_order_with_their_media_time(tmp_path: Path) -> None:
    path = make_file(tmp_path / "camera.mp4", options=BASELINE)
    frames = await take(await open_source(str(path)))
    assert [frame.seconds for frame in frames] == sorted(frame.seconds for frame in frames)
    assert [round(frame.seconds * 25) for frame in of(frames, 0)] == list(range(50))


async def test_a_loop_never_steps_back_nor_pauses(tmp_path: Path) -> None:
    path = make_file(tmp_path / "camera.mp4", options=BASELINE, seconds=1)
    source = await open_source(str(path), loop=True)
    pictures = of(await take(source, until=4.5), 0)
    steps = [b.seconds - a.seconds for a, b in itertools.pairwise(pictures)]
    assert min(steps) > 0.03
    assert max(steps) < 0.08
    assert source.counters.passes >= 4


async def test_b_frames_other_codecs_and_layouts_are_encoded_once(tmp_path: Path) -> None:
    path = make_file(tmp_path / "film.mp4", audio="aac", options={"bf": "2"})
    source = await open_source(str(path), loop=True)
    frames = await take(source, until=3.5)
    pictures, sound = of(frames, 0), of(frames, 1)
    assert [codec.name for codec in source.codecs] == ["H264", "opus"]
    assert decoded("h264", [picture.data for picture in pictures]) == [(320, 180)] * len(pictures)
    keys = [picture.seconds for picture in pictures if picture.key]
    assert keys == pytest.approx([0, 2], abs=0.05)
    steps = {round((b.seconds - a.seconds) * 48000) for a, b in itertools.pairwise(sound)}
    assert 960 in steps
    assert max(steps) <= 960 + 48000 * 0.08
    assert pictures[0].seconds == pytest.approx(sound[0].seconds, abs=0.05)


async def test_a_requested_key_frame_comes_where_pictures_are_encoded_here(tmp_path: Path) -> None:
    path = make_file(tmp_path / "old.avi", video="mpeg4", audio=None, seconds=8)
    source = await open_source(str(path))
    seen: list[Frame] = []
    async for frame in source.frames():
        seen.append(frame)
        if len(seen) == 5:
            source.request_key_frame()
    await source.close()
    keys = [round(frame.seconds * 25) for frame in seen if frame.key]
    assert source.counters.requests_served == 1
    assert len([number for number in keys if number % 50]) >= 1


async def test_a_key_frame_request_to_a_pass_through_is_only_counted(tmp_path: Path) -> None:
    source = await open_source(str(make_file(tmp_path / "camera.mp4", options=BASELINE, seconds=0.2)))
    source.request_key_frame()
    assert source.counters.requests_ignored == 1
    await source.close()


@pytest.mark.parametrize(("codec", "name"), [("libvpx", "VP8"), ("libvpx-vp9", "VP9")])
async def test_vpx_passes_through(codec: str, name: str, tmp_path: Path) -> None:
    options = {"deadline": "realtime", "lag-in-frames": "0"}
    path = make_file(tmp_path / "a.webm", video=codec, seconds=1, options=options)
    source = await open_source(str(path))
    frames = of(await take(source), 0)
    assert source.codecs[0].name == name
    assert [frame.data for frame in frames] == [data for _, data in packets_of(path, "video")]


async def test_elementary_streams_without_times_are_counted(tmp_path: Path) -> None:
    path = make_file(tmp_path / "a.h264", audio=None, seconds=1, options=BASELINE)
    frames = await take(await open_source(str(path)))
    assert [round(frame.seconds * 25) for frame in frames] == list(range(25))


@pytest.mark.parametrize("content", [None, b"", b"not a film " * 100])
async def test_what_cannot_be_opened_is_said_in_one_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"film\.mp4"):
        await open_source(str(path))


async def test_a_reader_that_nobody_empties_waits_and_ends_when_closed(tmp_path: Path) -> None:
    path = make_file(tmp_path / "camera.mp4", options=BASELINE, seconds=1)
    source = await open_source(str(path), loop=True)
    frames = source.frames()
    await anext(frames)
    async with asyncio.timeout(3):
        await source.close()
        await frames.aclose()  # type: ignore[attr-defined]  # an async generator


def test_sound_and_picture_stored_apart_are_sorted_out() -> None:
    stored = [Frame(0, t / 10, b"", False) for t in range(8)] + [Frame(1, t / 10, b"", True) for t in range(8)]
    times = [frame.seconds for frame in in_order(iter(stored), 1.0)]
    assert times == sorted(times)


async def test_a_pattern_is_a_camera_that_repeats_itself_without_a_seam() -> None:
    source = await asyncio.to_thread(lambda: Pattern(1, width=320, height=180, rate=10))
    frames = await take(source, until=LOOP_SECONDS * 2.2)
    pictures, sound = of(frames, 0), of(frames, 1)
    assert [round(picture.seconds * 10) for picture in pictures] == list(range(LOOP_SECONDS * 22))
    assert [round(packet.seconds * 50) for packet in sound] == list(range(LOOP_SECONDS * 110))
    assert [picture.key for picture in pictures[:30]] == ([True] + [False] * 9) * 3
    assert decoded("h264", [p.data for p in pictures]) == [(320, 180)] * len(pictures)
    assert nal_units(pictures[0].data)[0][1:3] == b"\x42\xc0", "constrained baseline"


@pytest.mark.parametrize(("layout", "rate"), [("stereo", 48000), ("stereo", 44100), ("mono", 8000), ("5.1", 48000)])
def test_sound_that_changes_on_the_way_is_resampled_anew(layout: str, rate: int) -> None:
    encoder = AudioEncoder()
    packets = []
    for number, (now, hertz) in enumerate([("mono", 48000)] * 10 + [(layout, rate)] * 60):
        samples = hertz // 50
        frame = av.AudioFrame(format="s16", layout=now, samples=samples)
        frame.sample_rate = hertz
        packets += [seconds for seconds, _, _ in encoder.encode(frame, number / 50)]
    assert len(packets) >= 65
    assert max(b - a for a, b in itertools.pairwise(packets)) < 0.05


async def test_pictures_that_change_their_size_on_the_way_keep_their_shape(tmp_path: Path) -> None:
    parts = [
        make_file(tmp_path / f"{width}.ts", audio=None, seconds=1, options={"bf": "2"}, size=(width, height))
        for width, height in ((320, 180), (180, 320), (1920, 1080))
    ]
    path = tmp_path / "film.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = await open_source(str(path))
    sizes = decoded("h264", [frame.data for frame in await take(source)])
    assert list(dict.fromkeys(sizes)) == [(320, 180), (180, 320), (1920, 1080)]


async def test_sound_that_nobody_knows_does_not_take_the_pictures_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_file(tmp_path / "camera.mp4", audio="aac", options=BASELINE, seconds=1)
    data = path.read_bytes().replace(b"mp4a\0\0\0\0", b"ac-4\0\0\0\0").replace(b"esds", b"free")
    path.write_bytes(data)
    source = await open_source(str(path), loop=True)
    assert [codec.name for codec in source.codecs] == ["H264"]
    assert len(await take(source, until=2.5)) > 50
    assert [record.message for record in caplog.records] == [
        f"{path}: its audio is in an unknown codec and is left out"
    ]


async def test_a_track_that_fails_on_the_way_does_not_take_the_other_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of tune")

    monkeypatch.setattr(AudioEncoder, "encode", fail)
    source = await open_source(str(make_file(tmp_path / "film.mp4", audio="aac", options=BASELINE, seconds=1)))
    frames = await take(source)
    assert {frame.track for frame in frames} == {0}
    assert len(frames) == 25
    assert [record.message.partition(": ")[2] for record in caplog.records] == ["its audio cannot be used: out of tune"]
    monkeypatch.setattr(VideoEncoder, "encode", fail)
    source = await open_source(str(make_file(tmp_path / "b.mp4", audio="aac", options={"bf": "2"}, seconds=1)))
    with pytest.raises(SourceError, match="out of tune"):
        await take(source)


async def test_re_encoding_is_said_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_file(tmp_path / "film.mp4", audio=None, options={"bf": "2"}, seconds=0.5)
    await (await open_source(str(path))).close()
    (record,) = caplog.records
    assert record.message.startswith(f"{path}: H.264 video is re-encoded to H.264 here: browsers cannot play its B-fr")


async def test_a_single_picture_is_a_slide_with_loop_and_says_so_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_file(tmp_path / "slide.jpg", video="mjpeg", audio=None, seconds=0.04, options={"strict": "-2"})
    slide = await take(await open_source(str(path), loop=True), until=3.5)
    assert [frame.seconds for frame in slide] == pytest.approx([0, 1, 2, 3])
    assert len(decoded("h264", [frame.data for frame in slide])) == 4
    caplog.clear()
    assert len(await take(await open_source(str(path)))) == 1
    assert "with --loop" in caplog.records[-1].message


async def test_pictures_over_8k_are_refused_where_they_would_be_decoded(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    segment = record(
        Store(tmp_path),
        codec="H265",
        audio=False,
        size=(16_000, 16_000),
        sequence=[Unit(0, "video", bomb("H265")[0], True)],
    )
    segment.path.rename(path)
    with pytest.raises(SourceError, match="16000x16000 pixels; at most 33177600"):
        await open_source(str(path))


@pytest.mark.parametrize(("video", "sent"), [("H264", "H264"), ("VP8", "VP8"), ("VP9", "VP9"), ("H265", "H264")])
async def test_pictures_say_how_their_file_has_them_turned(video: str, sent: str, tmp_path: Path) -> None:
    for orientation in (0, 1, 2, 3, 4, 7):
        segment = record(Store(tmp_path / str(orientation)), codec=video, audio=False, orientation=orientation)
        source = await open_source(str(segment.path))
        assert [codec.name for codec in source.codecs] == [sent]
        frames = [frame async for frame in source.frames() if isinstance(frame, Frame)]
        await source.close()
        assert len(frames) == 100
        assert {frame.orientation for frame in frames} == {orientation}
