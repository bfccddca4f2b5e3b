"""Our own clients against a real server, and against scripted ones, on a real broker."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sfu.clients import peer as client
from sfu.clients.attempt import Attempt, Host
from sfu.clients.pattern import Pattern
from sfu.clients.proof.source import GivenToken
from sfu.clients.publish import Camera, publish
from sfu.clients.view import Viewer, view
from sfu.rtc.sdp.description import Local, OfferSection
from sfu.rtc.sdp.write import write_offer
from sfu.signaling import messages
from sfu.signaling.bodies import Answer, Bye, ErrorCode, ErrorNotice, Offer
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf, Role
from tests.helpers.brokers import Mosquitto
from tests.helpers.media import make_file
from tests.helpers.peers import PeerViewer, window_sections
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until

HOST = Host.new(announce=["127.0.0.1"])
BASELINE = {"bf": "0", "profile": "baseline", "tune": "zerolatency"}
Start = Callable[..., Mosquitto]


def pattern(number: int = 0) -> Pattern:
    """A small camera, encoded once for all tests."""
    return Pattern(number, width=320, height=180, rate=20)


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, object]) -> AsyncIterator[list[asyncio.Task[object]]]:
    """Runs the coroutines beside the body; ends them with it. Their failures fail the test."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [r for r in results if isinstance(r, Exception)]


@asynccontextmanager
async def viewing(broker: Mosquitto, room: str, windows: int = 1) -> AsyncIterator[Viewer]:
    viewer = Viewer(Leaf(room, Role.VIEW, "wall"), windows=windows)
    async with running(viewer.view(host=HOST, broker=broker.url, base="sfu", stop=asyncio.Event())):
        yield viewer


def publishing(camera: Camera, broker: Mosquitto, leaf: Leaf) -> Coroutine[Any, Any, None]:
    return camera.publish(leaf, host=HOST, broker=broker.url, base="sfu", stop=asyncio.Event())


async def test_a_file_reaches_a_viewer_whole_and_on_time(mosquitto: Start, tmp_path: Path) -> None:
    broker, stop = mosquitto(), asyncio.Event()
    lines: list[str] = []
    path = make_file(tmp_path / "camera.mp4", options=BASELINE, seconds=1)
    async with serving(broker.url) as service:
        camera = publish(
            "site/gate", str(path), peer_id="cam", loop=True, broker=broker.url, stop=stop, report=lambda _: None
        )
        async with running(camera):
            await until(lambda: service.rooms.live("site/gate"))
            code = await view(
                "site", seconds=3, as_json=True, windows=1, broker=broker.url, stop=stop, report=lines.append
            )
    result = json.loads(lines[-1])
    video, audio = result["slots"]
    assert code == 0
    assert [slot["lost"] for slot in (video, audio)] == [0, 0]
    assert (video["room"], video["peer"], video["codec"], audio["codec"]) == ("site/gate", "cam", "H264", "opus")
    assert video["fps"] == pytest.approx(25, rel=0.2)
    assert video["key_frames"] >= 1
    assert audio["fps"] == pytest.approx(50, rel=0.2)
    assert video["late_p50_ms"] < 500
    assert result["sessions"] == 1


async def test_an_empty_room_is_said_and_exits_with_1(mosquitto: Start) -> None:
    broker = mosquitto()
    lines: list[str] = []
    async with serving(broker.url):
        code = await view("yard", seconds=0.5, broker=broker.url, stop=asyncio.Event(), report=lines.append)
    assert code == 1
    assert lines[0] == "connected"
    title, words = lines[-1].splitlines()
    assert re.search(r"yard for \d+\.\d s, connected after", title)  # how long depends on the machine too
    assert words == "nobody sends in yard"


async def test_a_camera_leaves_nothing_behind(mosquitto: Start) -> None:
    broker = mosquitto()
    async with serving(broker.url) as service:
        tasks, files = len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))
        for number in range(3):
            camera = Camera(pattern())
            async with running(publishing(camera, broker, Leaf("yard", Role.PUB, f"cam{number}"))):
                await until(camera.up.is_set)
        await until(lambda: not service.server.participants)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        await until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= files)


async def test_cameras_come_and_go_under_a_waiting_viewer(mosquitto: Start) -> None:
    broker = mosquitto()
    async with serving(broker.url), viewing(broker, "yard") as wall:
        meter = wall.meters["v0"]
        for number in range(2):
            before = meter.figures().key_frames
            async with running(publishing(Camera(pattern()), broker, Leaf("yard", Role.PUB, f"cam{number}"))):
                await until(lambda before=before: meter.figures().key_frames > before)
                await until(lambda number=number: meter.source is not None and meter.source.peer == f"cam{number}")
            await until(lambda: meter.source is None)
        assert meter.figures().lost == 0


async def test_select_switches_a_slot(mosquitto: Start) -> None:
    broker = mosquitto()
    async with serving(broker.url), viewing(broker, "yard") as wall:
        meter = wall.meters["v0"]
        cameras = [publishing(Camera(pattern()), broker, Leaf("yard", Role.PUB, f"cam{n}")) for n in range(2)]
        async with running(*cameras):
            await until(lambda: meter.source is not None)
            assert meter.source is not None
            other = "cam1" if meter.source.peer == "cam0" else "cam0"
            await asyncio.sleep(0.3)
            wall.select("v0", other)
            await until(lambda: meter.source is not None and meter.source.peer == other)
            before = meter.figures().key_frames
            await until(lambda: meter.figures().key_frames > before)
        assert meter.figures().lost == 0


async def test_media_does_not_notice_that_the_broker_is_gone(mosquitto: Start) -> None:
    broker = mosquitto()
    camera = Camera(pattern())
    leaf = Leaf("yard", Role.PUB, "cam")
    async with serving(broker.url), viewing(broker, "yard") as wall, running(publishing(camera, broker, leaf)):
        meter = wall.meters["v0"]
        await until(lambda: meter.figures().frames > 5)
        for change in (broker.kill, broker.restart):
            change()
            frames = meter.figures().frames
            await until(lambda frames=frames: meter.figures().frames > frames + 40)
        assert meter.figures().lost == 0
        assert wall.result().sessions == 1


async def test_peers_come_back_to_a_restarted_server(mosquitto: Start) -> None:
    broker = mosquitto()
    camera = Camera(pattern())
    async with viewing(broker, "yard") as wall, running(publishing(camera, broker, Leaf("yard", Role.PUB, "cam"))):
        for session in (1, 2):
            async with serving(broker.url):
                frames = wall.meters["v0"].figures().frames
                await until(lambda frames=frames: wall.meters["v0"].figures().frames > frames + 10)
                assert wall.result().sessions == session


async def test_a_file_that_ends_is_a_camera_that_leaves(mosquitto: Start, tmp_path: Path) -> None:
    broker = mosquitto()
    lines: list[str] = []
    path = make_file(tmp_path / "camera.mp4", options=BASELINE, seconds=1)
    async with serving(broker.url) as service:
        code = await publish(
            "yard", str(path), peer_id="cam", broker=broker.url, stop=asyncio.Event(), report=lines.append
        )
        assert code == 0
        assert lines == [f"{path}: H264 and opus", "connected"]
        await until(lambda: not service.server.participants)


class ScriptedServer:
    """Hears a leaf and answers each offer with what `script` says; None is silence."""

    def __init__(self, broker: Mosquitto, leaf: Leaf, script: Callable[[Envelope], bytes | None]) -> None:
        self.offers: list[Envelope] = []
        self.goodbyes: list[Envelope] = []
        self._topic = f"sfu/{leaf}"
        self._script = script
        self.link = BrokerLink(
            broker.url, client_id="scripted", subscriptions=(self._topic,), on_message=self._on_message
        )

    def _on_message(self, incoming: Incoming) -> None:
        envelope = messages.parse(incoming.payload)
        if envelope is None or envelope.clientid == "server":
            return
        if isinstance(envelope.body, Bye):
            self.goodbyes.append(envelope)
        if isinstance(envelope.body, Offer):
            self.offers.append(envelope)
            reply = self._script(envelope)
            if reply is not None:
                self.link.publish(self._topic, reply)


@asynccontextmanager
async def scripted(
    broker: Mosquitto, leaf: Leaf, script: Callable[[Envelope], bytes | None]
) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(broker, leaf, script)
    async with running(server.link.run()):
        await server.link.wait_connected(PATIENCE_S)
        yield server
        await server.link.close()


def view_once(broker: Mosquitto, lines: list[str], seconds: float = 60) -> Coroutine[Any, Any, int]:
    return view(
        "yard",
        seconds=seconds,
        peer_id="wall",
        broker=broker.url,
        stop=asyncio.Event(),
        report=lines.append,
        token=GivenToken("t"),
    )


LEAF = Leaf("yard", Role.VIEW, "wall")


@pytest.mark.parametrize("code", [ErrorCode.UNAUTHORIZED, ErrorCode.BAD_REQUEST, ErrorCode.PRODUCER_EXISTS])
async def test_a_refusal_for_good_ends_the_command_with_its_words(mosquitto: Start, code: ErrorCode) -> None:
    broker = mosquitto()
    lines: list[str] = []

    def refuse(offer: Envelope) -> bytes:
        assert offer.token == "t"
        return messages.dump(Envelope("server", ErrorNotice(code, "not here"), session=offer.session))

    async with scripted(broker, LEAF, refuse) as server:
        assert await view_once(broker, lines) == 1
        assert len(server.offers) == 1
    advice = ". On the server's machine `sfu token" if code is ErrorCode.UNAUTHORIZED else ""
    assert lines[-1].startswith(f"{code}: not here{advice}")
    assert bool(advice) or lines[-1].endswith("not here")


async def test_a_refusal_for_now_is_tried_again_in_a_new_session(mosquitto: Start) -> None:
    broker = mosquitto()
    lines: list[str] = []

    def refuse(offer: Envelope) -> bytes:
        return messages.dump(Envelope("server", ErrorNotice(ErrorCode.LIMIT, "full"), session=offer.session))

    async with scripted(broker, LEAF, refuse) as server:
        async with running(view_once(broker, lines)):
            await until(lambda: len(server.offers) >= 2)
        assert len({offer.session for offer in server.offers}) == len(server.offers)


async def test_an_unanswered_offer_is_repeated_word_for_word_then_made_anew(
    mosquitto: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "OFFER_WAITS_S", (0.1, 0.1, 0.2, 0.2))
    broker = mosquitto()
    lines: list[str] = []
    async with scripted(broker, LEAF, lambda _: None) as server:
        async with running(view_once(broker, lines)):
            await until(lambda: len(server.offers) >= 5)
        assert len({(offer.session, offer.body) for offer in server.offers[:4]}) == 1
        assert server.offers[4].session != server.offers[0].session
        await until(lambda: {bye.session for bye in server.goodbyes} >= {server.offers[0].session})
    assert "not connected: no answer" in lines


async def test_messages_of_other_sessions_and_nonsense_are_ignored(mosquitto: Start) -> None:
    broker = mosquitto()
    lines: list[str] = []

    def confuse(offer: Envelope) -> bytes:
        notice = ErrorNotice(ErrorCode.UNAUTHORIZED, "somebody else")
        server.link.publish(f"sfu/{LEAF}", b"not json")
        server.link.publish(f"sfu/{LEAF}", b'{"command":"signal","clientid":"server","type":"answer","data":7}')
        return messages.dump(Envelope("server", notice, session="another-session"))

    async with scripted(broker, LEAF, confuse) as server:
        assert await view_once(broker, lines, 1) == 1
    assert re.match(r"yard for \d+\.\d s, never connected", lines[-1])


@pytest.mark.parametrize(("room", "source", "code"), [("a//b", "pattern", 2), ("yard", "/nowhere/film.mp4", 1)])
async def test_what_cannot_be_published_is_said_before_anything_starts(
    mosquitto: Start, room: str, source: str, code: int
) -> None:
    broker = mosquitto()
    lines: list[str] = []
    assert await publish(room, source, broker=broker.url, stop=asyncio.Event(), report=lines.append) == code
    assert len(lines) == 1


async def test_a_late_answer_to_an_earlier_offer_is_none_to_the_latest() -> None:
    """An offer that is repeated is answered twice."""
    screen = PeerViewer()
    attempt = await Attempt.open(HOST, window_sections(0), screen)
    try:
        attempt.on_message(answer(window_sections(0)))
        assert attempt.settled
        attempt.renegotiate([*window_sections(0), *window_sections(1)])
        attempt.on_message(answer(window_sections(0)))
        assert not attempt.settled
        attempt.on_message(answer([*window_sections(0), *window_sections(1)]))
        assert attempt.settled
        assert screen.answer is not None
        assert len(screen.answer.sections) == 4
    finally:
        await attempt.close()


def answer(sections: Sequence[OfferSection]) -> Answer:
    local = Local("ufrag", "p" * 24, ":".join(["AB"] * 32), (), True)
    return Answer(write_offer(sections, local, session_id=1, version=1))
