"""Pictures that are sent in another order than they are shown in: each keeps its time, in files, clips and copies."""

from __future__ import annotations

import io
import random
import subprocess
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.video.codeccontext import VideoCodecContext

from recorder.capture.assembly import Assembly
from recorder.capture.reorder import Arrival
from recorder.depacketize.units import PlacedUnit
from recorder.playback.export import export
from recorder.playback.hls import HlsFile, playlist
from recorder.segments.fragments import decode_times
from recorder.segments.muxer import Muxer
from recorder.segments.recording import Close, Cut, Open, Recording, RecordingDrop, Write
from recorder.store import mp4
from recorder.store.directory import Segment, Store
from recorder.store.index import Index, layout_of
from recorder.upkeep.progressive import make_progressive
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec, Kind
from tests.helpers.programs import need
from tests.helpers.recordings import EPOCH_US, NOW, START_US
from tests.helpers.rtp_payloads import pack_units

RATE = 25
FRAMES = 100
X265 = "keyint=25:min-keyint=25:scenecut=0:log-level=none:pools=1:frame-threads=1"
STREAMS = {
    "x264 without": ("H264", "bframes=0"),
    "x264 2": ("H264", "bframes=2:b-pyramid=none:b-adapt=0"),
    "x264 3 pyramid": ("H264", "bframes=3:b-pyramid=normal:b-adapt=0:weightp=2"),
    "x264 adaptive": ("H264", "bframes=3:b-adapt=2:b-pyramid=strict"),
    "x264 open": ("H264", "bframes=3:b-adapt=0:open-gop=1"),
    "x264 8": ("H264", "bframes=8:b-adapt=0:b-pyramid=normal"),
    "x265 closed 2": ("H265", "bframes=2:b-adapt=0:open-gop=0"),
    "x265 closed 4": ("H265", "bframes=4:b-adapt=0:open-gop=0"),
    "x265 open 4": ("H265", "bframes=4:b-adapt=0:open-gop=1"),
}


@cache
def encoded(name: str) -> tuple[tuple[int, bytes], ...]:
    """Returns (number of the picture, access unit in Annex B), in sending order."""
    codec, options = STREAMS[name]
    context = av.CodecContext.create("libx264" if codec == "H264" else "libx265", "w")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.width, context.height, context.pix_fmt = 160, 96, "yuv420p"
    context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
    context.gop_size = RATE
    more = f"{options}:keyint=25:min-keyint=25:scenecut=0"
    if codec == "H264":
        context.options = {"preset": "veryfast", "x264-params": f"{more}:repeat-headers=1:log-level=none"}
    else:
        context.options = {"preset": "ultrafast", "x265-params": f"{more}:{X265}:repeat-headers=1"}
    noise, made = random.Random(1), list[tuple[int, bytes]]()
    row = noise.randbytes(160 * 96 * 3)
    for number in range(FRAMES):
        frame = av.VideoFrame(160, 96, "yuv420p")
        for plane in frame.planes:
            plane.update(row[number * 7 : number * 7 + plane.buffer_size])
        frame.pts = number
        made += [(packet.pts or 0, bytes(packet)) for packet in context.encode(frame)]
    return (*made, *((packet.pts or 0, bytes(packet)) for packet in context.encode(None)))


def recorded(
    name: str, *, segment_us: int = 600_000_000, fps: int = RATE, expected: tuple[Kind, ...] = ("video", "audio")
) -> tuple[list[bytes], Recording]:
    """The files that come of a camera's packets, by all parts of the recorder that do without a disk."""
    codec = Codec(STREAMS[name][0], 90_000, 1, 96)
    assembly, recording = Assembly(expected), Recording(["video"], segment_us=segment_us)
    placed: list[PlacedUnit] = []
    index = 0
    for order, (number, data) in enumerate(encoded(name)):
        payloads = [piece for unit in pack_units(data, header=1 if codec.name == "H264" else 2) for piece in unit]
        for at, payload in enumerate(payloads):
            packet = Packet(
                at == len(payloads) - 1, 96, index & 0xFFFF, number * 90_000 // fps, 1, payload, index=index
            )
            index += 1
            placed += assembly.push(Arrival("video", packet, codec, NOW + order / fps), EPOCH_US)
    placed += assembly.flush(EPOCH_US)
    actions = [action for each in placed for action in recording.push(each.track, each.unit, each.wall_us, now=NOW)]
    files: list[bytes] = []
    muxer: Muxer | None = None
    for action in [*actions, *recording.close()]:
        if isinstance(action, Open):
            muxer = Muxer(action.tracks, start_us=action.start_us, title="yard/cam")
            files.append(b"")
        elif isinstance(action, Write) and muxer is not None:
            files[-1] += muxer.write("video", action.pts_us, action.data, key=action.key)
        elif isinstance(action, Cut | Close) and muxer is not None:
            files[-1] += muxer.close()
    return files, recording


def shown(data: bytes | Path) -> list[float]:
    """Returns when FFmpeg shows each decoded picture, in seconds."""
    need("ffprobe")
    source = ["-i", "-"] if isinstance(data, bytes) else ["-i", str(data)]
    entries = ["-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0"]
    command = ["ffprobe", "-v", "error", *source, *entries]
    given = data if isinstance(data, bytes) else None
    said = subprocess.run(command, input=given, capture_output=True, check=True, timeout=60)
    assert not said.stderr
    return [float(line.strip(b",")) for line in said.stdout.split()]


def decode_order(data: bytes) -> list[tuple[int, int]]:
    """Returns (decode time, presentation time) of each sample, in ticks."""
    with av.open(io.BytesIO(data), "r") as container:
        return [(packet.dts or 0, packet.pts or 0) for packet in container.demux(video=0) if packet.size]


def segment_of(tmp_path: Path, name: str) -> tuple[Store, Segment]:
    store = Store(tmp_path)
    segment = store.new("yard", "cam", START_US, ".mp4")
    segment.path.parent.mkdir(parents=True)
    segment.path.write_bytes(recorded(name)[0][0])
    return store, segment


def tolerance_s(name: str) -> float:
    """Without sender reports, the first picture sent ahead in the middle of a stream seems to come early."""
    return 0.015 if name == "x264 adaptive" else 3 / 90_000


@pytest.mark.parametrize("name", STREAMS)
def test_every_picture_is_shown_once_at_its_time(name: str) -> None:
    (data,), _ = recorded(name)
    times = shown(data)
    assert times == pytest.approx([number / RATE for number in range(FRAMES)], abs=tolerance_s(name))
    assert all(later > earlier for earlier, later in pairwise(times))
    assert (b"trun\x01" in data) is (name != "x264 without"), "files without reordered pictures are as ever"
    samples = decode_order(data)
    assert len(samples) == FRAMES
    assert all(later[0] > earlier[0] for earlier, later in pairwise(samples))
    assert all(decoded <= at for decoded, at in samples)
    found = mp4.layout(lambda at, size: data[at : at + size], len(data))
    assert found.duration_us == pytest.approx(FRAMES * 1e6 / RATE, abs=50_000)
    assert found.parts[0].key_us == 0


@pytest.mark.parametrize("name", STREAMS)
def test_each_part_is_whole_alone(name: str) -> None:
    (data,), _ = recorded(name)
    found = mp4.layout(lambda at, size: data[at : at + size], len(data))
    assert len(found.parts) >= 3
    for part in found.parts:
        times = shown(data[: part.offset + part.size])
        assert all(later > earlier for earlier, later in pairwise(times))
        assert times[-1] == pytest.approx(part.end_us / 1e6, abs=9 / RATE)


@pytest.mark.parametrize("name", STREAMS)
def test_pictures_keep_their_times_after_a_cut(name: str) -> None:
    files, recording = recorded(name, segment_us=1_500_000)
    found = [shown(data) for data in files]
    for times in found:
        assert times[0] == pytest.approx(0, abs=2 / 90_000)
        assert all(
            later - earlier == pytest.approx(1 / RATE, abs=tolerance_s(name)) for earlier, later in pairwise(times[:-9])
        )
    assert sum(map(len, found)) == FRAMES - recording.drops[RecordingDrop.LEADING]
    assert recording.drops[RecordingDrop.LEADING] <= 4 * (len(files) - 1)


@pytest.mark.parametrize("name", STREAMS)
def test_clips_and_progressive_copies_keep_every_time(name: str, tmp_path: Path) -> None:
    store, segment = segment_of(tmp_path, name)
    since_us, until_us = START_US + 1_200_000, START_US + 2_800_000
    target = tmp_path / "clip"
    clip = export(Index(store), "yard", "cam", target=target, since_us=since_us, until_us=until_us)
    times = shown(clip.path)
    assert 30 <= len(times) <= 80
    assert all(later > earlier for earlier, later in pairwise(times))
    steps = [later - earlier for earlier, later in pairwise(times[:-9])]
    assert steps == pytest.approx([1 / RATE] * len(steps), abs=tolerance_s(name))
    assert make_progressive(store, segment)
    assert shown(segment.path) == pytest.approx([number / RATE for number in range(FRAMES)], abs=tolerance_s(name))


@pytest.mark.parametrize("name", STREAMS)
def test_playlists_count_the_time_on_evenly(name: str, tmp_path: Path) -> None:
    _, segment = segment_of(tmp_path, name)
    layout = layout_of(segment.path)
    made = playlist([HlsFile("a.mp4", START_US, layout)], START_US, START_US + 4_000_000, growing=False)
    assert made is not None
    lengths = [float(line[8:-1]) for line in made.splitlines() if line.startswith("#EXTINF:")]
    assert sum(lengths) == pytest.approx(FRAMES / RATE, abs=0.05)
    assert min(lengths) > 0


def test_slow_cameras_may_reorder_too() -> None:
    (data,), _ = recorded("x264 3 pyramid", fps=8)
    assert shown(data) == pytest.approx([number / 8 for number in range(FRAMES)], abs=2 / 90_000)


def test_decode_times_rise_and_none_is_later_than_what_follows() -> None:
    assert decode_times([0, 400, 200, 100, 300, 800, 600], -1, 400) == [0, 98, 99, 100, 300, 400, 401]
    assert decode_times([500, 700, 900], 900, 900) == [901, 902, 903], (
        "a picture that comes too late is shown at its time"
    )


def test_without_a_report_a_camera_is_placed_by_arrival_and_keeps_its_order() -> None:
    (data,), _ = recorded("x264 8", expected=("video",))
    times = shown(data)
    assert len(times) == FRAMES
    assert all(later > earlier for earlier, later in pairwise(times))
    assert times[-1] == pytest.approx((FRAMES - 1) / RATE, abs=0.1)
