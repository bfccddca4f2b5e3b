"""A recorder killed at random moments: after repair every file plays, and at most 1.1 s is lost.

As a script: `python -m tests.integration.recorder.test_kill --kills 50 [--seed 1]`; prints what each kill cost.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pickle
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from recorder.segments.muxer import Muxer
from recorder.segments.writer import SegmentWriter
from recorder.store.directory import Store
from recorder.store.index import Index, layout_of
from recorder.upkeep.repair import repair
from tests.helpers.recordings import START_US, Unit, complaints, tracks_of, units

# name: video codec, whether an audio track is declared, whether it speaks
CASES: dict[str, tuple[str | None, bool, bool]] = {
    "h264+opus": ("H264", True, True),
    "audio alone": (None, True, True),
    "silent audio": ("H264", True, False),
    "vp8+opus": ("VP8", True, True),
}
MOST_LOST_US = 1_100_000
_TURN_US = 4_000_000
_UNITS = ".units"


def write_in_real_time(directory: Path, case: str) -> None:
    """Records until killed; tells the media time of each unit, once it was taken, on the standard output."""
    codec, declared, _ = CASES[case]
    sequence = [Unit(*unit) for unit in pickle.loads((directory / _UNITS).read_bytes())]
    muxer = Muxer(tracks_of(codec, audio=declared), start_us=START_US, title="yard/cam")
    writer = SegmentWriter(Store(directory).new("yard", "cam", START_US, muxer.suffix).path, muxer)
    began = time.monotonic()
    for turn in itertools.count():
        for unit in sequence:
            at = unit.pts_us + turn * _TURN_US
            time.sleep(max(0.0, began + at / 1e6 - time.monotonic()))
            writer.write(unit.kind, at, unit.data, key=unit.key, now=time.monotonic())
            os.write(1, b"%d\n" % at)


def lost_us(directory: Path, case: str, seconds: float) -> int:
    """Kills a recorder after this many seconds of recording, repairs, checks, and says how much is missing."""
    codec, _, spoken = CASES[case]
    (directory / _UNITS).write_bytes(pickle.dumps([tuple(unit) for unit in units(codec, audio=spoken)]))
    command = [sys.executable, "-m", __spec__.name, "--child", case, "--directory", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        lines = (first + child.stdout.read()).splitlines()
    taken_us = int(lines[-1] or lines[-2])
    store = Store(directory)
    list(repair(store, Index(store)))
    if not (segments := list(store.walk())):
        return taken_us
    (segment,) = segments
    assert complaints(segment.path) == ""
    assert list(repair(store, Index(store))) == []
    return taken_us - layout_of(segment.path).duration_us


@pytest.mark.parametrize("case", CASES)
def test_a_kill_costs_the_last_second_at_most(case: str, tmp_path: Path) -> None:
    seconds = random.Random(case).uniform(1.2, 2.4)
    assert lost_us(tmp_path, case, seconds) <= MOST_LOST_US


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", choices=CASES)
    parser.add_argument("--directory", type=Path)
    asked = parser.parse_args()
    if asked.child:
        write_in_real_time(asked.directory, asked.child)
    chance = random.Random(asked.seed)
    cost: dict[str, list[float]] = {case: [] for case in CASES}
    for number, case in zip(range(asked.kills), itertools.cycle(CASES), strict=False):
        seconds = chance.uniform(0.3, 9.0)
        with tempfile.TemporaryDirectory() as directory:
            lost = lost_us(Path(directory), case, seconds)
        cost[case].append(lost / 1e6)
        _say(f"{number + 1:3} {case:14} killed at {seconds:.2f} s, lost {lost / 1e6:.3f} s")
        assert lost <= MOST_LOST_US
    for case, losses in cost.items():
        if losses:
            middle, most = statistics.median(losses), max(losses)
            _say(f"{case:14} {len(losses)} kills, lost median {middle:.3f} s, most {most:.3f} s")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
