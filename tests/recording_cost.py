"""What recording costs beside `ffmpeg -c copy`: CPU per recorded second, same stream, same run.

Measured by hand, on a machine with nothing else to do: `python -m tests.recording_cost --seconds 600`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from recorder.muxer import Muxer
from recorder.writer import SegmentWriter
from tests.media import make_file
from tests.programs import need
from tests.recorded import START_US, Unit, tracks_of, units_of

_TURN_US = 10_000_000
_ROUNDS = 4


def ours(source: tuple[Unit, ...], seconds: int, path: Path) -> float:
    """CPU seconds to write this many seconds of media, at the speed of the disk, synced as in real time."""
    turns = [tuple(unit) for unit in source]
    before = time.process_time()
    writer = SegmentWriter(path, Muxer(tracks_of("H264"), start_us=START_US, title="yard/cam"))
    for turn in range(seconds * 1_000_000 // _TURN_US):
        for pts_us, kind, data, key in turns:
            at = pts_us + turn * _TURN_US
            writer.write(kind, at, data, key=key, now=at / 1e6)
    writer.close()
    return time.process_time() - before


def theirs(source: Path, path: Path) -> float:
    """CPU seconds of FFmpeg to copy a file into the same form."""
    form = ["-movflags", "empty_moov+default_base_moof+frag_keyframe", "-frag_duration", "1000000"]
    command = [need("ffmpeg"), "-nostdin", "-v", "error", "-i", str(source), "-c", "copy", *form, "-y", str(path)]
    with subprocess.Popen([*command]) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def compare(directory: Path, seconds: int) -> tuple[float, float]:
    """CPU seconds per recorded second: ours, FFmpeg's without its start; each the least of several rounds by turns.

    640x360, 25 frames a second, about 1 Mbit/s, and Opus.
    """
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
    source = tuple(sorted(units_of(short)))
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=600)
    with tempfile.TemporaryDirectory() as directory:
        mine, copying = compare(Path(directory), parser.parse_args().seconds)
    sys.stdout.write(
        f"CPU a second: recorder {mine * 1e6:.0f} us, ffmpeg -c copy {copying * 1e6:.0f} us: {mine / copying:.2f}\n"
    )


if __name__ == "__main__":
    main()
