"""Recordings as users have them: switched over MQTT, real cameras, files that FFmpeg decodes to the last frame."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.capture.pipeline import Pipeline
from recorder.store.directory import Segment, Store
from sfu.units import parse_rfc3339, rfc3339
from tests.benchmarks.kill_recordings import MOST_LOST_S, cameras, killed
from tests.helpers.brokers import Mosquitto
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.mqtt_client import MqttClient, mqtt_client
from tests.helpers.peers import publishing, watching
from tests.helpers.recordings import complaints, probed
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five key frames a second, so that nobody waits for one."""
    return make_file(tmp_path_factory.mktemp("source") / "source.mp4", options={"bf": "0", "g": "5"})


def events(home: MqttClient, room: str) -> list[dict[str, Any]]:
    """Returns the events of recordings in a room."""
    topic = f"sfu/{room}/event"
    heard = [json.loads(message.payload) for message in home.messages or () if message.topic == topic]
    return [event for event in heard if event["type"].startswith(("recording", "segment"))]


def kinds(home: MqttClient, room: str) -> list[str]:
    return [event["type"] for event in events(home, room)]


def segments(directory: Path) -> list[Segment]:
    return sorted(Store(directory).walk(), key=lambda segment: segment.start_us)


async def switched(home: MqttClient, room: str, word: str) -> None:
    """Switches recording and returns once the state topic says so."""
    home.publish(f"sfu/{room}/recordings/set", word)
    await until(lambda: home.latest.get(f"sfu/{room}/recordings/state") == word.encode())


async def test_on_and_off_over_mqtt(mosquitto: StartMosquitto, tmp_path: Path, source: Path) -> None:
    url = mosquitto().url
    async with mqtt_client(url) as home, serving(url, recording__dir=tmp_path) as service:
        async with camera(url, "front/pub/cam1", source):
            await until(lambda: home.latest.get("sfu/front/recordings/state") == b"OFF")
            await until(lambda: home.json("sfu/front/state").get("live"))
            assert not service.recordings.recording("front", "cam1")
            said_us = time.time_ns() // 1000
            await switched(home, "front", "ON")
            await until(lambda: home.json("sfu/front/state")["recording"])
            assert service.recordings.recording("front", "cam1")
            assert b"sfu_recordings 1.0" in service.metrics.text()
            await switched(home, "front", "OFF")
            await until(lambda: len(events(home, "front")) == 3)
            assert service.recordings.octets == sum(segment.path.stat().st_size for segment in segments(tmp_path))
        started, segment_event, stopped = events(home, "front")
        (segment,) = segments(tmp_path)
        assert [event["type"] for event in (started, segment_event, stopped)] == [
            "recording_started",
            "segment",
            "recording_stopped",
        ]
        assert segment_event["start"] == started["start"] == rfc3339(segment.start_us)
        assert parse_rfc3339(segment_event["start"]) < said_us, "begins with the key frame before ON"
        assert (segment_event["bytes"], tmp_path / segment_event["file"]) == (segment.path.stat().st_size, segment.path)
        assert stopped["reason"] == "stopped"
        assert complaints(segment.path) == ""
        seen = probed(segment.path)
        assert {kind: stream.codec for kind, stream in seen.items()} == {"video": "h264", "audio": "opus"}
        await until(lambda: not home.json("sfu/front/state")["live"])
        assert len(events(home, "front")) == 3


async def test_a_room_s_switch_is_its_sub_rooms_and_what_was_retained_is_not_heard(
    mosquitto: StartMosquitto, tmp_path: Path, source: Path
) -> None:
    url = mosquitto().url
    async with mqtt_client(url) as home:
        home.link.set_state("sfu/site/gate/recordings/set", b"ON")
        await home.drained()
        rooms = {"recording__dir": tmp_path, "recording__rooms": "lobby=off"}
        async with serving(url, **rooms), camera(url, "site/gate/pub/cam1", source):
            await until(lambda: home.json("sfu/site/gate/state").get("live"))
            home.publish("sfu/site/recordings/set", "maybe")
            home.publish("sfu/lobby/recordings/set", "ON")
            await until(lambda: [event["reason"] for event in events(home, "lobby")] == ["off"])
            await switched(home, "site", "ON")
            await until(lambda: home.latest["sfu/site/gate/recordings/state"] == b"ON")
            assert kinds(home, "site/gate") == ["recording_started"]
            assert kinds(home, "site") == []
            await switched(home, "site/gate", "OFF")
            await until(lambda: home.latest["sfu/site/recordings/state"] == b"OFF")


async def test_an_event_is_recorded_with_what_came_before_it(
    mosquitto: StartMosquitto, tmp_path: Path, source: Path
) -> None:
    url = mosquitto().url
    event = {"recording__mode": "event", "recording__preroll": "1s"}
    async with (
        mqtt_client(url) as home,
        serving(url, recording__dir=tmp_path, **event),
        camera(url, "hall/pub/cam1", source),
    ):
        await until(lambda: home.json("sfu/hall/state").get("live"))
        live = time.time()
        await until(lambda: time.time() > live + 1.5)
        said_us = time.time_ns() // 1000
        await switched(home, "hall", "ON")
        assert 900_000 < said_us - parse_rfc3339(events(home, "hall")[0]["start"]) < 1_600_000
        await switched(home, "hall", "OFF")
    (segment,) = segments(tmp_path)
    assert complaints(segment.path) == ""


async def test_what_is_told_survives_the_broker_and_ends_with_the_server(
    mosquitto: StartMosquitto, tmp_path: Path, source: Path
) -> None:
    broker = mosquitto()
    async with camera(broker.url, "front/pub/cam1", source):
        async with serving(broker.url, recording__dir=tmp_path, recording__mode="always"):
            async with mqtt_client(broker.url) as home:
                await until(lambda: home.latest.get("sfu/front/recordings/state") == b"ON")
            broker.kill()
            broker.restart()
            async with mqtt_client(broker.url) as home:
                await until(lambda: home.latest.get("sfu/front/recordings/state") == b"ON")
        async with mqtt_client(broker.url) as home:
            await until(lambda: home.retained.get("sfu/front/recordings/state") == b"OFF")
    (segment,) = segments(tmp_path)
    assert complaints(segment.path) == ""


async def test_two_producers_a_camera_that_comes_and_goes_and_viewers_who_notice_nothing(
    mosquitto: StartMosquitto, tmp_path: Path, source: Path
) -> None:
    url = mosquitto().url
    async with (
        mqtt_client(url) as home,
        serving(url, recording__dir=tmp_path, recording__mode="always"),
        publishing(url, "yard/pub/lens") as sender,
        watching(url, "yard/view/anna") as (viewer, _),
    ):
        await until(lambda: home.json("sfu/yard/state").get("live"))
        for session in range(1, 3):
            async with camera(url, "yard/pub/cam1", source):
                await until(lambda: kinds(home, "yard").count("recording_started") >= session)  # noqa: B023
            await until(lambda: kinds(home, "yard").count("recording_stopped") >= session)  # noqa: B023
        await viewer.missed_nothing(sender, "v0", "a0")
    of_camera = [segment for segment in segments(tmp_path) if segment.peer == "cam1"]
    assert len(of_camera) == 2
    assert [complaints(segment.path) for segment in of_camera] == ["", ""]


async def test_a_directory_that_cannot_be_written_is_told_of_and_used_once_it_can(
    mosquitto: StartMosquitto, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recorder.capture.pipeline.RETRY_S", 0.1)
    url = mosquitto().url
    directory = tmp_path / "recordings"
    directory.write_text("a file is in the way")
    async with (
        mqtt_client(url) as home,
        serving(url, recording__dir=directory, recording__mode="always") as service,
        camera(url, "front/pub/cam1", source),
        watching(url, "front/view/anna"),
    ):
        await until(lambda: events(home, "front"))
        (failed,) = events(home, "front")
        assert (failed["type"], failed["peer"], failed["reason"]) == ("recording_failed", "cam1", "unwritable")
        assert str(directory) in failed["message"]
        await until(lambda: service.recordings.failures()["unwritable"] > 1)
        assert home.latest["sfu/front/recordings/state"] == b"OFF"
        assert len(events(home, "front")) == 1
        directory.unlink()
        await until(lambda: home.latest["sfu/front/recordings/state"] == b"ON")
        shutil.rmtree(directory)  # gone while it is written: what comes next has a directory again
        await switched(home, "front", "OFF")
        await switched(home, "front", "ON")
    assert [complaints(segment.path) for segment in segments(directory)] == [""]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """8 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.parametrize("on_full", ["free", "pause"])
async def test_a_full_disk_costs_old_recordings_or_pauses_and_viewers_nothing(
    mosquitto: StartMosquitto, small_disk: Path, source: Path, on_full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recorder.capture.pipeline.RETRY_S", 0.1)
    monkeypatch.setattr("recorder.upkeep.keeper.NEEDED_BYTES", 1_000_000)
    monkeypatch.setattr("recorder.manager.NEEDED_BYTES", 1_000_000)
    url = mosquitto().url
    async with (
        mqtt_client(url) as home,
        serving(url, recording__dir=small_disk, recording__keep_free=0, recording__on_full=on_full) as service,
        camera(url, "front/pub/cam1", source),
        publishing(url, "hall/pub/lens") as sender,
        watching(url, "hall/view/anna") as (viewer, _),
    ):
        await until(lambda: home.json("sfu/front/state").get("live"))
        old = Store(small_disk).new("front", "cam1", 1_000_000_000, ".mp4").path
        old.parent.mkdir(parents=True)
        old.write_bytes(bytes(4_000_000))
        await switched(home, "front", "ON")
        filler = small_disk / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(8_000_000))
        if on_full == "pause":
            await until(lambda: "recording_stopped" in kinds(home, "front"))
            await until(lambda: home.latest["sfu/front/recordings/state"] == b"OFF")
            assert old.exists()
            filler.unlink()
        await until(lambda: kinds(home, "front").count("recording_started") == 2)
        assert kinds(home, "front").count("recording_failed") == 1
        (failed,) = [event for event in events(home, "front") if event["type"] == "recording_failed"]
        assert failed["reason"] == "disk_full"
        assert old.exists() == (on_full == "pause")
        assert kinds(home, "front").count("segment_deleted") == (0 if on_full == "pause" else 1)
        assert service.recordings.deletions()["free"] == (0 if on_full == "pause" else 1)
        await switched(home, "front", "OFF")
        await viewer.missed_nothing(sender, "v0", "a0")
    assert [complaints(segment.path) for segment in segments(small_disk) if segment.path != old] == ["", ""]


async def test_a_bug_ends_one_recording_with_a_traceback_and_nothing_else(
    mosquitto: StartMosquitto,
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("recorder.manager.RETRY_AFTER_S", 0.1)
    push, bugs = Pipeline.push, [True]

    def buggy(pipeline: Pipeline, *args: Any) -> None:
        if bugs:
            bugs.pop()
            raise ZeroDivisionError
        push(pipeline, *args)

    url = mosquitto().url
    async with (
        mqtt_client(url) as home,
        serving(url, recording__dir=tmp_path) as service,
        camera(url, "front/pub/cam1", source),
    ):
        await until(lambda: home.json("sfu/front/state").get("live"))
        monkeypatch.setattr(Pipeline, "push", buggy)
        await switched(home, "front", "ON")
        assert kinds(home, "front") == ["recording_failed", "recording_started"]
        assert service.recordings.failures()["internal"] == 1
    assert "ZeroDivisionError" in caplog.text


async def test_after_a_kill_files_are_whole_and_sigterm_finishes_them(
    mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    """More kills by hand: `python -m tests.benchmarks.kill_recordings`."""
    url = mosquitto().url
    async with mqtt_client(url) as home, cameras(url, tmp_path):
        lost = await killed(url, tmp_path / "recordings", 0.6)
        assert max(lost.values()) <= MOST_LOST_S, lost
        await until(lambda: home.latest["sfu/yard/recordings/state"] == b"OFF")
        assert kinds(home, "yard").count("recording_started") == 4
        assert kinds(home, "yard").count("segment") == kinds(home, "yard").count("recording_stopped") == 2
