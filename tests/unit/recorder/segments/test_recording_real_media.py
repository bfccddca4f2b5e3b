"""Packets of real encoders through depacketizer, timeline, recording and muxer become files that decode."""

from __future__ import annotations

import random
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest

from recorder.depacketize import Depacketizer
from recorder.segments.muxer import Muxer
from recorder.segments.recording import (
    Action,
    Close,
    Cut,
    Open,
    Recording,
    Write,
)
from recorder.timeline.timeline import Timeline
from sfu.clients import packetize
from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.codec import Codec, Kind
from tests.helpers.encodings import ENCODINGS, X265_OPEN, Encoding
from tests.helpers.media import avcc_units, make_file, packets_of
from tests.helpers.programs import need
from tests.helpers.rtp_payloads import FRAMES

H264 = Codec("H264", 90000, 1, 96)
OPUS = Codec("opus", 48000, 2, 111)
START = 1_790_000_000.0


def us(seconds: float) -> int:
    return round((START + seconds) * 1_000_000)


def _rtp(path: Path, codec: Codec, first: int) -> list[tuple[float, Packet]]:
    """A file's track as (second, RTP packet)."""
    sent: list[tuple[float, Packet]] = []
    for at, sample in packets_of(path, codec.kind):
        data = packetize.byte_stream(avcc_units(sample)) if codec.kind == "video" else sample
        payloads = packetize.PAYLOADS[codec.name](data)
        for number, payload in enumerate(payloads):
            media_time = (first + round(at * codec.clock_rate)) & 0xFFFFFFFF
            last = number == len(payloads) - 1
            sent.append((at, Packet(last, codec.payload_type, 0, media_time, 1, payload, index=len(sent))))
    return sent


def _record(sent: list[tuple[float, Kind, Packet]], *codecs: Codec) -> list[bytes]:
    """The files that come of these packets, by all parts of the recorder that do without a disk."""
    timeline = Timeline()
    tracks = {codec.kind: timeline.track(codec.clock_rate) for codec in codecs}
    depacketizers = {codec.kind: Depacketizer(codec) for codec in codecs}
    recording = Recording(tracks.keys())
    actions: list[Action] = []
    found = [(at, kind, unit) for at, kind, packet in sent for unit in depacketizers[kind].push(packet)]
    found += [(sent[-1][0], kind, unit) for kind, last in depacketizers.items() for unit in last.flush()]
    for at, kind, unit in found:
        wall_us = tracks[kind].at(unit.media_time, now=at, wall_us=us(at))
        actions += recording.push(kind, unit, wall_us, now=at)
    files: list[bytes] = []
    muxer: Muxer | None = None
    for action in [*actions, *recording.close()]:
        if isinstance(action, Open):
            muxer = Muxer(action.tracks, start_us=action.start_us, title="test")
            files.append(b"")
        elif isinstance(action, Write):
            assert muxer is not None
            files[-1] += muxer.write(
                action.track, action.pts_us, action.data, key=action.key, duration_us=action.duration_us
            )
        elif isinstance(action, Cut | Close):
            assert muxer is not None
            files[-1] += muxer.close()
    return files


def test_packets_of_a_camera_that_changes_its_size_become_two_files_that_decode(tmp_path: Path) -> None:
    options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "repeat-headers=1"}
    sent: list[tuple[float, Kind, Packet]] = []
    for part, size in enumerate([(320, 180), (640, 360)]):
        path = make_file(tmp_path / f"{part}.mkv", options=options, size=size)
        for codec in (H264, OPUS):
            first = 2**32 - codec.clock_rate + part * 2 * codec.clock_rate
            for at, packet in _rtp(path, codec, first):
                packet.index += part * 10**6  # as a producer counts on after a restart
                sent.append((at + 2 * part, codec.kind, packet))
    files = _record(sorted(sent, key=lambda item: item[0]), H264, OPUS)
    assert len(files) == 2
    for data, size in zip(files, [(320, 180), (640, 360)], strict=True):
        path = tmp_path / "out.mp4"
        path.write_bytes(data)
        with av.open(str(path)) as container:
            frames = [(frame.pts or 0) * (frame.time_base or Fraction()) for frame in container.decode(video=0)]
            assert len(frames) == 50
            assert abs(frames[-1] - frames[0] - Fraction(196, 100)) < 0.01
            video = container.streams.video[0]
            assert (video.width, video.height) == size
        with av.open(str(path)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 1.8 * 48000


IN_ORDER = {name: encoding for name, encoding in ENCODINGS.items() if encoding.encoder is not X265_OPEN}
"""Without the one whose pictures are not sent in the order they are shown in, which WebRTC does not know."""


@pytest.mark.parametrize("encoding", IN_ORDER.values(), ids=IN_ORDER)
@pytest.mark.parametrize("loss", [0.0, 0.003, 0.02])
def test_whatever_is_lost_no_picture_in_the_file_is_broken(encoding: Encoding, loss: float, tmp_path: Path) -> None:
    need("ffmpeg")
    noise = random.Random(7)
    packets = [packet for packet in encoding.packets() if noise.random() >= loss]
    sent: list[tuple[float, Kind, Packet]] = [(packet.media_time / 90000, "video", packet) for packet in packets]
    files = _record(sent, Codec(encoding.codec, 90000, 1, 96))
    assert len(files) == 1
    path = tmp_path / "out"
    path.write_bytes(files[0])
    command = ["ffmpeg", "-v", "error", "-xerror", "-err_detect", "explode", "-i", str(path), "-f", "framecrc", "-"]
    run = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert not run.stderr
    pictures = [line for line in run.stdout.splitlines() if not line.startswith(b"#")]
    assert len(pictures) == FRAMES if loss == 0 else 0 < len(pictures) < FRAMES
