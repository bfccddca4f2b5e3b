"""`sfu load` against a real server on a real broker, with real child processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sfu.cli import app
from sfu.clients.publish import publish
from sfu.loadtest import run
from sfu.loadtest.measure.requirements import parse
from sfu.loadtest.run import LoadOptions, load
from sfu.loadtest.setup.plan import Plan
from tests.helpers.brokers import Mosquitto
from tests.helpers.media import make_file
from tests.helpers.serving import serving

Start = Callable[..., Mosquitto]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses that make figures steady: none are wanted here."""
    monkeypatch.setattr(run, "SETTLE_S", 0.2)
    monkeypatch.setattr(run, "POLL_INTERVAL_S", 0.1)


async def test_all_that_cameras_send_reaches_all_viewers_whole(mosquitto: Start, tmp_path: Path) -> None:
    """Two cameras in one room, viewers on both, by `select`; the demands hold, the files are written."""
    broker = mosquitto()
    complaints: list[str] = []
    plan = Plan(publishers=2, viewers=6, bitrate=400_000, seconds=1.5)
    options = LoadOptions(
        requirements=parse("delivered>=0.99,corrupt=0,joined>=100%,duplicated=0"),
        json_file=tmp_path / "load.json",
        report_file=tmp_path / "load.html",
    )
    async with serving(broker.url):
        code = await load(plan, options, broker=broker.url, stop=asyncio.Event(), report=complaints.append)
    assert complaints == []
    written = json.loads((tmp_path / "load.json").read_text())
    figures = written["figures"]
    assert code == 0, written
    assert (figures["joined"], figures["failed"], figures["lost"], figures["cameras"]) == (6, 0, 0, 2)
    assert figures["expected"] == 3 * figures["sent"]
    assert figures["checked"] > figures["received"] / 40
    assert figures["latency_p50_ms"] < 1000
    page = (tmp_path / "load.html").read_text()
    assert page.count("<svg") >= 6
    assert "src=" not in page.replace("xmlns", "")


async def test_a_files_picture_in_rooms_of_its_own_and_a_demand_missed(mosquitto: Start, tmp_path: Path) -> None:
    """A broker connection for each peer; the same test fails for who wants the impossible."""
    broker = mosquitto()
    encoding = {"bf": "0", "profile": "baseline", "tune": "zerolatency"}
    path = make_file(tmp_path / "camera.mp4", options=encoding, seconds=2)
    options = LoadOptions(source=str(path), requirements=parse("max<0.001ms"), json_file=tmp_path / "load.json")
    plan = Plan(publishers=2, viewers=2, rooms=2, seconds=1)
    async with serving(broker.url):
        code = await load(plan, options, broker=broker.url, mqtt_each=True, stop=asyncio.Event(), report=lambda _: None)
    written = json.loads((tmp_path / "load.json").read_text())
    assert code == 1
    assert written["missed"][0].startswith("max<0.001ms: ")
    assert (written["figures"]["delivered"], written["figures"]["corrupt"]) == (1.0, 0)


async def test_viewers_of_a_camera_outside_the_test(mosquitto: Start, tmp_path: Path) -> None:
    """Counted by the server's numbering; there is no latency by a clock that is not ours."""
    broker, over = mosquitto(), asyncio.Event()
    complaints: list[str] = []
    options = LoadOptions(
        requirements=parse("delivered>=1,corrupt=0,joined>=1"),
        json_file=tmp_path / "load.json",
        report_file=tmp_path / "load.html",
    )
    plan = Plan(publishers=0, viewers=3, room="porch", seconds=1.5)
    path = make_file(tmp_path / "camera.mp4", options={"bf": "0", "tune": "zerolatency"}, seconds=2)
    async with serving(broker.url), asyncio.TaskGroup() as group:
        camera = publish("porch", str(path), loop=True, broker=broker.url, stop=over, report=lambda _: None)
        group.create_task(camera)
        code = await load(plan, options, broker=broker.url, stop=asyncio.Event(), report=complaints.append)
        over.set()
    figures = json.loads((tmp_path / "load.json").read_text())["figures"]
    assert (code, complaints) == (0, []), figures
    assert figures["received"] == figures["expected"] > 3 * 1.5 * 10
    assert figures["checked"] > figures["received"] / 40
    assert (figures["cameras"], figures["sent"], figures["latency_p50_ms"]) == (0, 0, None)
    page = (tmp_path / "load.html").read_text()
    assert "3 viewers of the cameras in room porch" in page
    assert "No data" not in page


async def test_an_empty_room_is_a_failed_test(mosquitto: Start) -> None:
    broker = mosquitto()
    complaints: list[str] = []
    async with serving(broker.url):
        plan = Plan(publishers=0, viewers=1, room="porch", seconds=0.5)
        assert await load(plan, LoadOptions(), broker=broker.url, stop=asyncio.Event(), report=complaints.append) == 1
    assert complaints == ["nothing received: no camera in room porch sends H.264, VP8 or VP9"]


async def test_viewers_who_are_turned_away_are_counted_by_reason(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    options = LoadOptions(json_file=tmp_path / "load.json")
    plan = Plan(viewers=3, bitrate=200_000, seconds=1)
    async with serving(broker.url, limits__viewers_per_room=2):
        await load(plan, options, broker=broker.url, stop=asyncio.Event(), report=lambda _: None)
    figures = json.loads((tmp_path / "load.json").read_text())["figures"]
    assert (figures["joined"], figures["failed"]) == (2, 1)
    assert next(iter(figures["failures"])).startswith("limit")


async def test_the_search_finds_the_most_viewers_a_server_takes(mosquitto: Start, tmp_path: Path) -> None:
    """Nobody who was turned away, and no step that failed, is in the figures."""
    broker = mosquitto()
    options = LoadOptions(find_limit=True, json_file=tmp_path / "load.json")
    plan = Plan(viewers=2, bitrate=200_000, seconds=1)
    async with serving(broker.url, limits__viewers_per_room=3):
        code = await load(plan, options, broker=broker.url, stop=asyncio.Event(), report=lambda _: None)
    written = json.loads((tmp_path / "load.json").read_text())
    assert (code, written["limit"]) == (0, 3)
    assert [(step["viewers"], step["joined"], step["failed"]) for step in written["steps"]] == [
        (2, 2, 0),
        (4, 3, 1),
        (3, 3, 0),
    ]
    assert (written["figures"]["viewers"], written["figures"]["failed"]) == (3, 0)
    assert written["figures"]["join_p95_ms"] is not None, "though the last step let nobody in"


async def test_a_test_can_be_stopped(mosquitto: Start) -> None:
    broker, stop = mosquitto(), asyncio.Event()
    complaints: list[str] = []
    async with serving(broker.url):
        running = asyncio.create_task(
            load(
                Plan(bitrate=200_000, seconds=60), LoadOptions(), broker=broker.url, stop=stop, report=complaints.append
            )
        )
        await asyncio.sleep(0)
        stop.set()
        assert await running == 0
    assert complaints == ["stopped"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--require", "delivered=>1"],
        ["--require", "speed>1"],
        ["--bitrate", "fast"],
        ["--rooms", "2"],
        ["--publishers", "0", "--rooms", "2"],
        ["--publishers", "0", "--source", "film.mp4"],
        ["--room", "a/view/b"],
        ["--seconds", "0"],
        ["--base", "sfu/#"],
    ],
)
def test_wrong_usage_is_exit_code_two(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["load", *arguments]).exit_code == 2
