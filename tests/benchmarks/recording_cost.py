"""The cost of recording beside `ffmpeg -c copy`: CPU per recorded second, same stream, same run.

Twice: units into a file, beside FFmpeg copying a file; and RTP packets into a file, beside FFmpeg that receives them
(and pays for their reception, which in a server the relay does). By hand: `python -m tests.benchmarks.recording_cost`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from recorder.capture.pipeline import Pipeline
from recorder.capture.reorder import Arrival
from recorder.rules import Rule
from recorder.segments.muxer import Muxer
from recorder.segments.writer import Disk, SegmentWriter
from recorder.store.directory import Store
from sfu.clients.frames import OPUS, Frame, h264
from sfu.clients.outgoing import OutgoingStream
from sfu.media.formats import rtp
from sfu.rtc.sdp.codec import Codec, Kind
from tests.helpers.brokers import free_port
from tests.helpers.media import make_file
from tests.helpers.programs import need
from tests.helpers.recordings import START_US, Unit, tracks_of, units_of

_TURN_US = 10_000_000
_ROUNDS = 8
_FORM = ["-movflags", "empty_moov+default_base_moof+frag_keyframe", "-frag_duration", "1000000"]
_CODECS: dict[Kind, Codec] = {"video": replace(h264(), feedback=("nack",)), "audio": OPUS}
_SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=video {} RTP/AVP 102
a=rtpmap:102 H264/90000
a=fmtp:102 packetization-mode=1
m=audio {} RTP/AVP 111
a=rtpmap:111 opus/48000/2
"""


def ours(source: tuple[Unit, ...], seconds: int, path: Path) -> float:
    """CPU seconds to write this many seconds of media, at the speed of the disk, synced as in real time."""
    before = time.process_time()
    writer = SegmentWriter(path, Muxer(tracks_of("H264"), start_us=START_US, title="yard/cam"))
    for turn in range(seconds * 1_000_000 // _TURN_US):
        for unit in source:
            at = unit.pts_us + turn * _TURN_US
            writer.write(unit.kind, at, unit.data, key=unit.key, now=at / 1e6)
    writer.close()
    return time.process_time() - before


def theirs(source: Path, path: Path) -> float:
    """CPU seconds of FFmpeg to copy a file into the same form."""
    command = [need("ffmpeg"), "-nostdin", "-v", "error", "-i", str(source), "-c", "copy", *_FORM, "-y", str(path)]
    with subprocess.Popen([*command]) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def ours_from_packets(source: tuple[Unit, ...], seconds: int, directory: Path) -> float:
    """CPU seconds from packets in order to a file: all that the recorder's thread does."""
    arrivals = [_arrival(*sent) for sent in packets(source, seconds)]
    disk = Disk(Store(directory))
    pipeline = Pipeline(("yard", "cam"), ("video", "audio"), disk, Rule(), notify=lambda event: None)
    before = time.process_time()
    pipeline.record(True, 100.0, 0)
    for arrival in arrivals:
        pipeline.push(arrival, 0)
    pipeline.close("stopped", 100.0 + seconds, 0)
    return time.process_time() - before


def theirs_from_packets(source: tuple[Unit, ...], seconds: int, directory: Path) -> float:
    """CPU seconds of FFmpeg that receives them, three times as fast as they were taken."""
    ports = [free_port(), free_port()]
    description = directory / "stream.sdp"
    description.write_text(_SDP.format(*ports))
    options = ["-protocol_whitelist", "file,udp,rtp", "-analyzeduration", "1000000", "-i", str(description)]
    command = [need("ffmpeg"), "-nostdin", "-v", "quiet", *options, "-c", "copy", *_FORM]
    process = subprocess.Popen([*command, "-y", str(directory / "received.mp4")])
    time.sleep(1)  # nothing tells when it listens
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        began = time.monotonic()
        for at_us, kind, _, data in packets(source, seconds):
            time.sleep(max(0.0, began + at_us / 3e6 - time.monotonic()))
            sender.sendto(data, ("127.0.0.1", ports[kind == "audio"]))
    process.send_signal(signal.SIGINT)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def packets(source: tuple[Unit, ...], seconds: int) -> Iterator[tuple[int, Kind, int, bytes]]:
    """(us, track, index, RTP packet) of so many seconds of media."""
    sent = {kind: OutgoingStream(codec, mid=kind, ssrc=7, sequence=0, offset=0) for kind, codec in _CODECS.items()}
    for turn in range(seconds * 1_000_000 // _TURN_US):
        for unit in source:
            at_us = unit.pts_us + turn * _TURN_US
            stream = sent[unit.kind]
            for data in stream.packetize(Frame(0, at_us / 1e6, unit.data, unit.key), 0.0):
                yield at_us, unit.kind, stream.packets - 1, data


def _arrival(at_us: int, kind: Kind, index: int, data: bytes) -> Arrival:
    packet = rtp.parse(data)
    assert packet is not None
    packet.index = index
    return Arrival(kind, packet, _CODECS[kind], 100.0 + at_us / 1e6)


def stream(directory: Path) -> tuple[Unit, ...]:
    """Ten seconds: 640x360, 25 frames a second, about 1 Mbit/s, and Opus."""
    options = {
        "preset": "ultrafast",
        "bf": "0",
        "b": "1M",
        "minrate": "1M",
        "maxrate": "1M",
        "bufsize": "1M",
        "nal-hrd": "cbr",
    }
    short = make_file(directory / "short.mp4", seconds=10.0, size=(640, 360), options=options)
    return tuple(sorted(units_of(short)))


def compare(source: tuple[Unit, ...], directory: Path, seconds: int) -> tuple[float, float]:
    """CPU seconds per recorded second: ours, FFmpeg's without its start; the least of alternating rounds each."""
    whole = directory / "whole.mp4"
    ours(source, seconds, whole)
    began = directory / "began.mp4"
    ours(source, 10, began)
    rounds = [
        (
            ours(source, seconds, directory / f"{number}.mp4"),
            theirs(whole, directory / "copy.mp4"),
            theirs(began, directory / "copy.mp4"),
        )
        for number in range(_ROUNDS)
    ]
    mine, copying, starting = (min(times) for times in zip(*rounds, strict=True))
    return mine / seconds, (copying - starting) / (seconds - 10)


def compare_from_packets(source: tuple[Unit, ...], directory: Path) -> tuple[float, float]:
    """The same from packets."""
    mine = min(ours_from_packets(source, 60, directory / str(number)) for number in range(_ROUNDS))
    received = theirs_from_packets(source, 60, directory) - theirs_from_packets(source, 10, directory)
    return mine / 60, received / 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=100)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        source = stream(directory)
        _say("from units", *compare(source, directory, seconds))
        _say("from packets", *compare_from_packets(source, directory))


def _say(what: str, mine: float, theirs: float) -> None:
    figures = f"recorder {mine * 1e6:.0f} us, ffmpeg -c copy {theirs * 1e6:.0f} us: {mine / theirs:.2f}"
    sys.stdout.write(f"CPU a second {what}: {figures}\n")


if __name__ == "__main__":
    main()
