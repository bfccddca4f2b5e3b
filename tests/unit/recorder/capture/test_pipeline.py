"""Pipelines: packets become files that play, whatever the disk does meanwhile, and events are true."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from recorder.capture.assembly import Report
from recorder.capture.pipeline import RETRY_S, Failed, Fault, Pipeline, PipelineEvent, Started, Stopped
from recorder.capture.reorder import Arrival
from recorder.rules import Rule
from recorder.segments.files import DiskFile
from recorder.segments.recording import AskKeyFrame
from recorder.segments.writer import Disk, Finished
from recorder.store.directory import Store
from sfu.clients.frames import OPUS
from sfu.media.formats.rtp import Packet
from sfu.units import parse_rfc3339, rfc3339
from tests.helpers.recordings import EPOCH_US, H264, NOW, START_US, arrivals, complaints, probed


class Disks:
    """Files that the test can make fail."""

    def __init__(self, directory: Path) -> None:
        self.error: int | None = None
        self.room = True
        self.disk = Disk(Store(directory), create=self._create, has_room=lambda: self.room)

    def _create(self, path: Path) -> DiskFile:
        disks = self

        class File(DiskFile):
            def append(self, data: bytes) -> None:
                if disks.error is not None:
                    raise OSError(disks.error, "no")
                super().append(data)

        return File(path)


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path)


def make_pipeline(disks: Disks, events: list[PipelineEvent], rule: Rule | None = None) -> Pipeline:
    return Pipeline(("yard", "cam"), ("video", "audio"), disks.disk, rule or Rule(), notify=events.append)


def push(pipeline: Pipeline, come: Iterable[Arrival]) -> None:
    for arrival in come:
        pipeline.push(arrival, EPOCH_US)


def without_requests(events: list[PipelineEvent]) -> list[PipelineEvent]:
    return [event for event in events if not isinstance(event, AskKeyFrame)]


def files(disks: Disks) -> list[Path]:
    return sorted(segment.path for segment in disks.disk.store.walk())


def test_what_comes_is_written_and_what_is_told_is_true(disks: Disks) -> None:
    events: list[PipelineEvent] = []
    pipeline = make_pipeline(disks, events)
    pipeline.record(True, NOW, EPOCH_US)
    for arrival in arrivals():
        pipeline.push(arrival, EPOCH_US)
        assert bool(without_requests(events)) == bool(files(disks) and files(disks)[0].stat().st_size)
    pipeline.close("left", NOW + 4, EPOCH_US)
    started, finished, stopped = without_requests(events)
    assert isinstance(finished, Finished)
    assert started == Started(finished.segment.start_us)
    assert stopped == Stopped("left")
    assert abs(finished.end_us - finished.segment.start_us - 4_000_000) < 60_000
    assert finished.size == pipeline.octets == finished.segment.path.stat().st_size
    assert complaints(finished.segment.path) == ""
    seen = probed(finished.segment.path)
    assert (len(seen["video"].times), len(seen["audio"].times) > 190) == (100, True)


def test_a_recording_shorter_than_a_part_is_told_of_too(disks: Disks) -> None:
    events: list[PipelineEvent] = []
    pipeline = make_pipeline(disks, events)
    pipeline.record(True, NOW, EPOCH_US)
    push(pipeline, [arrival for arrival in arrivals() if arrival.now < NOW + 0.7])
    pipeline.record(False, NOW + 0.7, EPOCH_US)
    assert [type(event) for event in without_requests(events)] == [Started, Finished, Stopped]
    assert complaints(files(disks)[0]) == ""


def test_the_pre_roll_is_part_of_what_an_event_records(disks: Disks) -> None:
    events: list[PipelineEvent] = []
    pipeline = make_pipeline(disks, events, Rule(preroll=2.0))
    packets = list(arrivals())
    push(pipeline, [arrival for arrival in packets if arrival.now < NOW + 3.5])
    assert not files(disks)
    pipeline.record(True, NOW + 3.5, EPOCH_US)
    push(pipeline, [arrival for arrival in packets if arrival.now >= NOW + 3.5])
    pipeline.close("left", NOW + 4, EPOCH_US)
    started = without_requests(events)[0]
    assert isinstance(started, Started)
    assert abs(started.start_us - (START_US + 1_000_000)) < 60_000  # the key frame before
    assert complaints(files(disks)[0]) == ""


@pytest.mark.parametrize(
    ("error", "fault"),
    [(errno.ENOSPC, Fault.DISK_FULL), (errno.EROFS, Fault.UNWRITABLE), (errno.EIO, Fault.UNWRITABLE)],
)
def test_a_disk_that_fails_is_told_of_once_and_tried_again(disks: Disks, error: int, fault: Fault) -> None:
    events: list[PipelineEvent] = []
    pipeline = make_pipeline(disks, events)
    pipeline.record(True, NOW, EPOCH_US)

    def live(start: float) -> None:
        for arrival in arrivals(at=start):
            pipeline.push(arrival._replace(packet=moved(arrival.packet, start)), EPOCH_US)
            pipeline.tick(arrival.now, EPOCH_US)

    live(NOW)
    assert [type(event) for event in without_requests(events)] == [Started]
    disks.error, disks.room = error, False
    live(NOW + 4)
    live(NOW + 8)
    assert [type(event) for event in without_requests(events)] == [Started, Finished, Failed, Stopped]
    failed = without_requests(events)[2]
    assert isinstance(failed, Failed)
    assert failed.fault is fault
    assert without_requests(events)[3] == Stopped("failed")
    disks.error, disks.room = None, True
    live(NOW + 12)
    pipeline.close("left", NOW + 16, EPOCH_US)
    assert [type(event) for event in without_requests(events)[4:]] == [Started, Finished, Stopped]
    finished = without_requests(events)[5]
    assert isinstance(finished, Finished)
    length_us = finished.end_us - finished.segment.start_us
    assert length_us >= 4_000_000 - (RETRY_S + 1.1) * 1e6  # the next key frame after it
    assert [complaints(path) for path in files(disks)] == ["", ""]
    assert pipeline.refusals[fault] >= 1
    assert pipeline.drops()["paused"] > 0


def test_a_file_that_somebody_deletes_while_it_grows_has_a_successor(disks: Disks) -> None:
    events: list[PipelineEvent] = []
    disks.disk = replace(disks.disk, sync_every=0.0)
    pipeline = make_pipeline(disks, events)
    pipeline.record(True, NOW, EPOCH_US)
    for start in (NOW, NOW + 4):
        for arrival in arrivals(at=start):
            pipeline.push(arrival._replace(packet=moved(arrival.packet, start)), EPOCH_US)
            pipeline.tick(arrival.now, EPOCH_US)
        if start == NOW:
            files(disks)[0].unlink()
    pipeline.close("left", NOW + 8, EPOCH_US)
    assert [type(event) for event in without_requests(events)] == [Started, Failed, Stopped, Started, Finished, Stopped]
    assert [complaints(path) for path in files(disks)] == [""]


def test_a_clock_that_is_set_back_an_hour_begins_another_recording(disks: Disks) -> None:
    events: list[PipelineEvent] = []
    pipeline = make_pipeline(disks, events)
    pipeline.record(True, NOW, EPOCH_US)
    for arrival in arrivals():
        pipeline.push(arrival, EPOCH_US - (3_600_000_000 if arrival.now > NOW + 2 else 0))
    pipeline.close("left", NOW + 4, EPOCH_US)
    told = [type(event) for event in without_requests(events)]
    assert (told[0], told.count(Finished), told[-1]) == (Started, 2, Stopped)
    assert [complaints(path) for path in files(disks)] == ["", ""]
    frames = [len(probed(path)["video"].times) for path in files(disks)]
    assert sum(frames) >= 74  # none between the change and the next key frame


def moved(packet: Packet, start: float) -> Packet:
    """The same packet of the same stream, later."""
    seconds = round(start - NOW)
    rate = H264.clock_rate if packet.payload_type == H264.payload_type else OPUS.clock_rate
    later = replace(packet, media_time=packet.media_time + seconds * rate)
    later.index = packet.index + seconds * 1000
    return later


def test_a_bug_ends_it_and_leaves_what_is_on_the_disk(disks: Disks) -> None:
    events: list[PipelineEvent] = []
    pipeline = make_pipeline(disks, events)
    pipeline.record(True, NOW, EPOCH_US)
    push(pipeline, arrivals())
    pipeline.abandon("boom")
    assert [type(event) for event in without_requests(events)] == [Started, Finished, Failed, Stopped]
    push(pipeline, arrivals(at=NOW + 4))
    assert len(files(disks)) == 1
    assert complaints(files(disks)[0]) == ""


def test_reports_put_the_first_frames_in_step_though_they_come_before_them(disks: Disks) -> None:
    events: list[PipelineEvent] = []
    pipeline = make_pipeline(disks, events)
    pipeline.record(True, NOW, EPOCH_US)
    for kind, media_time in (("video", 0), ("audio", 4800)):
        pipeline.push(Report(kind, 5 << 32, media_time, NOW), EPOCH_US)  # type: ignore[arg-type]
    push(pipeline, arrivals())
    pipeline.close("left", NOW + 4, EPOCH_US)
    seen = probed(files(disks)[0])
    # sound of media time 0 was taken 100 ms before the picture's: the segment begins with the sound that goes with it
    assert abs(seen["audio"].times[0] - seen["video"].times[0]) < 0.025
    assert len(seen["audio"].times) <= 196


def _arrived_later(seconds: float, *, slept: float = 0.0) -> list[Arrival]:
    """Returns the film once more, `seconds` later, on the same media clock, which ran on for `slept`."""
    later = []
    for arrival in arrivals():
        packet = moved(arrival.packet, NOW + seconds)
        packet.media_time += int(slept) * (90_000 if arrival.kind == "video" else 48_000)
        later.append(arrival._replace(packet=packet, now=arrival.now + seconds))
    return later


def _names(disks: Disks) -> list[str]:
    return [path.relative_to(disks.disk.store.directory / "yard" / "cam").as_posix() for path in files(disks)]


@pytest.mark.parametrize(
    ("step", "name"),
    [(-3600, "2026-03-04/04-06-1"), (3600, "2026-03-04/06-06-1"), (-86_400, "2026-03-03/05-06-1")],
)
def test_a_clock_that_is_set_begins_a_file_at_the_new_time(step: int, name: str, disks: Disks) -> None:
    pipeline = make_pipeline(disks, [])
    pipeline.record(True, NOW, EPOCH_US)
    push(pipeline, arrivals())
    for arrival in _arrived_later(4.0):
        pipeline.push(arrival, EPOCH_US + step * 1_000_000)
    pipeline.close("left", NOW + 8, EPOCH_US + step * 1_000_000)
    assert len(_names(disks)) == 2
    assert any(found.startswith(name) for found in _names(disks)), _names(disks)
    assert all(complaints(path) == "" for path in files(disks))


def test_a_machine_that_slept_begins_a_file_at_the_time_it_woke(disks: Disks) -> None:
    """The monotonic clock stood still meanwhile; the camera's media time did not."""
    slept_s = 7200
    pipeline = make_pipeline(disks, [])
    pipeline.record(True, NOW, EPOCH_US)
    push(pipeline, arrivals())
    for arrival in _arrived_later(4.0, slept=slept_s):
        pipeline.push(arrival, EPOCH_US + slept_s * 1_000_000)
    pipeline.close("left", NOW + 8, EPOCH_US + slept_s * 1_000_000)
    first, second = (segment.start_us for segment in sorted(disks.disk.store.walk(), key=lambda one: one.start_us))
    assert abs(first - START_US) < 100_000
    assert abs(second - (START_US + (slept_s + 4) * 1_000_000)) < 1_100_000  # its first key frame
    assert all(complaints(path) == "" for path in files(disks))


@pytest.mark.parametrize("at", ["2026-12-31T23:59:58.000Z", "2028-02-28T23:59:58.000Z", "2026-03-29T00:59:58.000Z",
                                "2026-10-25T00:59:58.000Z", "2016-12-31T23:59:58.000Z"])  # fmt: skip
def test_midnights_and_changes_of_local_time_leave_no_trace(at: str, disks: Disks) -> None:
    """File names are UTC, which knows no summer; systems smear or repeat a leap second, which is less than a step."""
    start_us = parse_rfc3339(at)
    pipeline = make_pipeline(disks, [], Rule(segment=2.0))
    pipeline.record(True, NOW, start_us - int(NOW * 1e6))
    for arrival in arrivals():
        pipeline.push(arrival, start_us - int(NOW * 1e6))
    pipeline.close("left", NOW + 4, start_us - int(NOW * 1e6))
    found = sorted(segment.start_us for segment in disks.disk.store.walk())
    assert [round((one - start_us) / 1e6, 1) for one in found] == [0.0, 2.0]
    begin, later = rfc3339(found[0]), rfc3339(found[1])
    assert _names(disks) == [f"{day[:10]}/{day[11:23].replace(':', '-')}Z.mp4" for day in (begin, later)]
