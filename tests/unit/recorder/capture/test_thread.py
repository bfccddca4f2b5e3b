"""The recorder's thread: a disk that stalls loses nothing and holds nobody up, and the end has a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.capture.pipeline import Pipeline, PipelineEvent
from recorder.capture.tap import Feed
from recorder.capture.thread import RecorderThread
from recorder.rules import Rule
from recorder.segments.files import DiskFile
from recorder.segments.writer import Disk
from recorder.store.directory import Store
from tests.helpers.recordings import arrivals, complaints, probed


class Stalling:
    """A disk that takes its time while `open` is not set."""

    def __init__(self, directory: Path) -> None:
        self.open = threading.Event()
        self.waits = threading.Event()
        self.disk = Disk(Store(directory), create=self._create)

    def _create(self, path: Path) -> DiskFile:
        disk = self

        class File(DiskFile):
            def append(self, data: bytes) -> None:
                disk.waits.set()
                disk.open.wait(10)
                super().append(data)

        return File(path)


def begun(thread: RecorderThread, disk: Disk, events: list[PipelineEvent]) -> Feed:
    feed = Feed("yard", "cam", time.monotonic)
    feed.record(True)
    thread.start()
    thread.add(feed, Pipeline(("yard", "cam"), ("video", "audio"), disk, Rule(), notify=events.append))
    return feed


def wait(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_disk_that_stalls_loses_nothing_and_the_end_does_not_wait_for_it_for_ever(tmp_path: Path) -> None:
    stalling, thread = Stalling(tmp_path), RecorderThread()
    events: list[PipelineEvent] = []
    feed = begun(thread, stalling.disk, events)
    packets = list(arrivals())
    feed.items.extend(packets[:200])
    assert stalling.waits.wait(10)
    feed.items.extend(packets[200:])
    feed.end("left")
    assert feed.items
    assert not thread.close(0.05)
    stalling.open.set()
    assert thread.close(10)
    (segment,) = Store(tmp_path).walk()
    assert complaints(segment.path) == ""
    assert len(probed(segment.path)["video"].times) == 100
    assert thread.written() == segment.path.stat().st_size
    assert not any(thread.drops().values())


def test_a_bug_ends_one_pipeline_and_the_thread_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    thread = RecorderThread()
    events: list[PipelineEvent] = []
    feed = begun(thread, Disk(Store(tmp_path)), events)
    feed.items.extend(list(arrivals())[:300])
    wait(lambda: events)
    feed.items.append(None)  # type: ignore[arg-type]
    wait(lambda: thread.failures()["internal"])
    assert "Traceback" in caplog.text
    (first,) = Store(tmp_path).walk()
    assert complaints(first.path) == ""
    other = Feed("yard", "other", time.monotonic)
    other.record(True)
    thread.add(
        other,
        Pipeline(("yard", "other"), ("video", "audio"), Disk(Store(tmp_path)), Rule(), notify=events.append),
    )
    other.items.extend(arrivals())
    other.end("left")
    assert thread.close(10)
    assert len(list(Store(tmp_path).walk())) == 2
