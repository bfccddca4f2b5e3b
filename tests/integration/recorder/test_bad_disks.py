"""Disks that hang or fill up more than once: what is said is true, viewers notice nothing, and recording goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recorder.segments.files import DiskFile
from recorder.store.directory import Store
from tests.helpers.brokers import Mosquitto
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import publishing, watching
from tests.helpers.recordings import complaints
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]
_TOLD_S = 5.0
_STATE = "sfu/front/recordings/state"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("source") / "source.mp4", options={"bf": "0", "g": "5"})


class Disk:
    """A disk that can hang or be full, under every file of a recording."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.full = False

    def append(self, file: DiskFile, data: bytes) -> None:
        self.answers.wait()
        if self.full:
            raise OSError(28, "No space left on device")
        _append(file, data)


_append = DiskFile.append


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()

    def append(file: DiskFile, data: bytes) -> None:
        disk.append(file, data)

    monkeypatch.setattr(DiskFile, "append", append)
    monkeypatch.setattr("recorder.capture.pipeline.RETRY_S", 0.1)
    yield disk
    disk.answers.set()


def _failures(text: bytes, reason: str) -> bytes:
    (line,) = (
        line for line in text.splitlines() if b"sfu_recordings_failures_total" in line and reason.encode() in line
    )
    return line.rpartition(b" ")[2]


async def test_a_disk_that_hangs_is_told_and_viewers_notice_nothing(
    mosquitto: StartMosquitto, tmp_path: Path, source: Path, disk: Disk
) -> None:
    url = mosquitto().url
    async with (
        mqtt_client(url) as home,
        serving(url, recording__dir=tmp_path, recording__mode="always") as service,
        publishing(url, "hall/pub/lens") as sender,
        watching(url, "hall/view/anna") as (viewer, _),
        camera(url, "front/pub/cam1", source),
    ):
        for hangs in (1, 2):
            await until(lambda: home.latest.get(_STATE) == b"ON")
            disk.answers.clear()
            begun = time.monotonic()
            await until(lambda: home.latest[_STATE] == b"OFF")
            assert time.monotonic() - begun < _TOLD_S + 2.0  # a loaded machine
            assert not service.recordings.recording("front", "cam1")
            assert _failures(service.metrics.text(), "disk_hangs") == b"%d.0" % hangs
            disk.answers.set()
            await until(lambda: home.latest[_STATE] == b"ON")
        await viewer.missed_nothing(sender, "v0", "a0")
    told = [message for message in home.messages or () if message.topic == "sfu/front/event"]
    assert sum(b"disk_hangs" in message.payload for message in told) == 2
    assert all(complaints(segment.path) == "" for segment in Store(tmp_path).walk())


async def test_the_end_does_not_wait_for_a_disk_that_hangs(
    mosquitto: StartMosquitto, tmp_path: Path, source: Path, disk: Disk
) -> None:
    url = mosquitto().url
    async with mqtt_client(url) as home:
        async with (
            serving(url, recording__dir=tmp_path, recording__mode="always"),
            camera(url, "front/pub/cam1", source),
        ):
            await until(lambda: home.latest.get(_STATE) == b"ON")
            disk.answers.clear()
            await until(lambda: home.latest[_STATE] == b"OFF")
            begun = time.monotonic()
        assert time.monotonic() - begun < _TOLD_S + 2.0


async def test_a_disk_that_is_full_twice_is_recorded_to_again_each_time(
    mosquitto: StartMosquitto, tmp_path: Path, source: Path, disk: Disk
) -> None:
    url = mosquitto().url
    async with (
        mqtt_client(url) as home,
        serving(url, recording__dir=tmp_path, recording__mode="always", recording__keep_free=0),
        camera(url, "front/pub/cam1", source),
    ):
        for times in (1, 2):
            await until(lambda: home.latest.get(_STATE) == b"ON")
            disk.full = True
            await until(lambda: home.latest[_STATE] == b"OFF")
            disk.full = False
            await until(lambda: home.latest[_STATE] == b"ON")
            failed = [message for message in home.messages or () if b"disk_full" in message.payload]
            assert len(failed) == times
    with contextlib.suppress(FileNotFoundError):
        assert all(complaints(segment.path) == "" for segment in Store(tmp_path).walk())
