"""Bad input harms nobody: each gets its code or moves a counter, while a camera and a viewer lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from sfu.rtc.ice.agent import AgentTimeouts
from sfu.service import Service
from sfu.signaling.bodies import MAX_PAYLOAD_BYTES, ErrorCode
from tests.helpers.brokers import Mosquitto, Proxy
from tests.helpers.mqtt_client import MqttClient, mqtt_client, retained_messages
from tests.helpers.offers import NAMES, offer
from tests.helpers.peers import PeerCamera, PeerViewer, publishing, watching
from tests.helpers.raw_peer import RawPeer, raw_peer
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]
BASE = {"command": "signal", "clientid": "eve", "session": "0123456789", "v": 2}


@dataclass
class Scene:
    """A server at work, and somebody who means no good."""

    service: Service
    eve: MqttClient

    def counted(self, name: str) -> int:
        return self.service.server.counters[name]

    def speak(self, kind: str, data: object, leaf: str = "front/view/eve", **fields: object) -> None:
        self.eve.publish(f"sfu/{leaf}", json.dumps(BASE | {"type": kind, "data": data} | fields))

    def codes(self, leaf: str = "front/view/eve") -> list[str]:
        """Returns the code of each error that the server has sent on a leaf."""
        messages = [
            json.loads(heard.payload)
            for heard in self.eve.messages or ()
            if heard.topic == f"sfu/{leaf}" and b'"clientid":"sfu-' in heard.payload
        ]
        return [message["data"]["code"] for message in messages if message["type"] == "error"]

    async def answered(self, *codes: str, leaf: str = "front/view/eve") -> None:
        """These errors and no others come."""
        await until(lambda: len(self.codes(leaf)) >= len(codes))
        await self.eve.drained()
        assert self.codes(leaf) == list(codes)


@contextlib.asynccontextmanager
async def unharmed(url: Any, **settings: Any) -> AsyncIterator[Scene]:
    """A camera and a viewer that lose nothing whatever the body does; afterwards nothing of it is left."""
    async with serving(url, **settings) as service, mqtt_client(url) as eve:
        await eve.drained()
        tasks = len(asyncio.all_tasks())
        async with publishing(url, "front/pub/cam1") as camera, watching(url, "front/view/anna") as (viewer, _):
            await viewer.missed_nothing(camera, "v0", "a0")
            scene = Scene(service, eve)
            yield scene
            await viewer.missed_nothing(camera, "v0", "a0")
            assert (viewer.sessions, viewer.downs) == (1, [])
            assert service.server.counters["refused_internal"] == 0
            assert service.link.counters["handler_failed"] == 0
        await until(lambda: not service.server.participants)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
    retained = await retained_messages(url)
    assert not [topic for topic in retained if set(topic.split("/")) & {"pub", "view", "join"}]


@pytest_asyncio.fixture
async def scene(mosquitto: StartMosquitto) -> AsyncIterator[Scene]:
    async with unharmed(mosquitto().url, limits__messages=200) as scene:
        yield scene


NOT_MESSAGES = [
    b"\x00\xff\xfe",
    b"not json",
    b"{",
    b'"signal"',
    b"[]",
    b"1e999",
    b"NaN",
    b"[" * 5000,
    b'{"command":"signal","type":"offer"}',
    json.dumps(BASE | {"type": "offer", "data": None}).encode(),
    json.dumps(BASE | {"type": "offer", "data": {"sdp": "v=0"}}).encode(),
    json.dumps(BASE | {"type": "offer", "data": ""}).encode(),
    json.dumps(BASE | {"type": "offer", "data": "v=0", "session": "short"}).encode(),
    json.dumps(BASE | {"type": "offer", "data": "v=0", "session": {"a": 1}}).encode(),
    json.dumps(BASE | {"type": "offer", "data": "v=0", "clientid": "a b"}).encode(),
    json.dumps(BASE | {"type": "offer", "data": "v=0", "opts": 7}).encode(),
    json.dumps(BASE | {"type": "offer", "data": "\ud800"}).encode(),
    json.dumps(BASE | {"type": "select", "data": {"mid": "v0"}}).encode(),
    json.dumps(BASE | {"type": "select", "data": {"mid": "v0", "peer": "../.."}}).encode(),
]


async def test_what_is_no_message_is_a_bad_request(scene: Scene) -> None:
    for payload in NOT_MESSAGES:
        scene.eve.publish("sfu/front/view/eve", payload)
    await scene.answered(*["bad_request"] * len(NOT_MESSAGES))


async def test_malformed_messages_that_need_no_answer_are_counted_only(scene: Scene) -> None:
    """An error is never answered, nor are an answer, a candidate and a bye: two sides could go on for ever."""
    before = scene.counted("refused_bad_request")
    bad: list[tuple[str, object]] = [
        ("error", {}),
        ("error", {"code": 7}),
        ("answer", None),
        ("candidate", 7),
        ("candidate", {"sdpMid": {}}),
    ]
    for kind, data in bad:
        scene.speak(kind, data)
    await until(lambda: scene.counted("refused_bad_request") == before + len(bad))
    await scene.answered()


async def test_a_storm_of_errors_is_met_with_silence(scene: Scene) -> None:
    for _ in range(60):
        scene.speak("error", {"code": "internal", "message": "no, you"})
    await until(lambda: scene.counted("no_session") == 60)
    await scene.answered()


async def test_types_and_commands_of_the_future_are_ignored(scene: Scene) -> None:
    scene.speak("hologram", {})
    scene.speak("offer", "v=0", command="dance")
    await until(lambda: scene.counted("ignored") == 2)
    await scene.answered()


async def test_65_kib_are_too_large(scene: Scene) -> None:
    scene.eve.publish("sfu/front/view/eve", b"x" * 65 * 1024)
    scene.eve.publish("sfu/front/view/eve", b"x" * (1 << 20))
    await scene.answered("too_large", "too_large")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_an_offer_that_waited_at_the_broker_is_not_answered(mosquitto: StartMosquitto, protocol: str) -> None:
    """Its sender may be gone long since. MQTT 5 can leave retained messages out, 3.1.1 cannot."""
    broker = mosquitto()
    topic = "sfu/front/view/ghost"
    async with (
        Proxy(broker.url, refuse_v5="connack" if protocol == "3.1.1" else None) as proxy,
        mqtt_client(broker.url) as eve,
    ):
        offer_of_yore = json.dumps(BASE | {"clientid": "ghost", "type": "offer", "data": offer(NAMES[0])})
        eve.link.set_state(topic, offer_of_yore.encode())
        await until(lambda: topic in eve.latest)
        async with unharmed(broker.url) if protocol == "5" else unharmed(proxy.url) as scene:
            if protocol == "3.1.1":
                await until(lambda: scene.counted("retained") == 1)
            assert scene.counted("sessions") == 2
            eve.link.set_state(topic, None)
            await until(
                lambda: [message.payload for message in eve.messages or () if message.topic == topic][-1] == b""
            )
            await eve.drained()
            assert eve.latest[topic] == b""  # clearing a topic gets no error for the empty message


async def test_messages_on_another_s_leaf_are_ignored(scene: Scene) -> None:
    participant = next(p for leaf, p in scene.service.server.participants.items() if leaf.peer == "cam1")
    scene.speak("offer", offer(NAMES[0]), leaf="front/pub/cam1")
    scene.speak("bye", {}, leaf="front/pub/cam1", session=participant.session)
    scene.speak("select", {"mid": "v0", "peer": None}, leaf="front/view/anna")
    scene.speak("candidate", None, leaf="front/view/anna")
    scene.speak("bye", {}, leaf="front/view/anna", clientid="anna")  # her name, but not her session
    await until(lambda: scene.counted("foreign_clientid") == 2)
    await until(lambda: scene.counted("other_session") == 3)
    await scene.answered(ErrorCode.BAD_REQUEST, leaf="front/pub/cam1")


async def test_an_offer_five_times_is_one_session(scene: Scene) -> None:
    before = scene.counted("sessions")
    async with raw_peer(scene.eve, "front/view/eve") as eve:
        text = await eve.make_offer()
        for _ in range(5):
            eve.send("offer", text)
        await until(lambda: len(eve.answers) >= 1)
        await scene.eve.drained()
        assert len(set(eve.answers)) == 1
        assert scene.counted("sessions") == before + 1
        eve.send("bye", {})


async def test_candidates_first_twice_garbage_and_far_too_many(scene: Scene) -> None:
    good = {"candidate": "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host", "sdpMid": "v0", "sdpMLineIndex": 0}
    bad = [
        "garbage",
        "candidate:",
        "candidate:1 1 udp x y z typ host",
        "candidate:1 1 udp 1 0.0.0.0 0 typ host",
        "\x00",
    ]
    async with raw_peer(scene.eve, "front/view/eve") as eve:
        for candidate in (good, good, None, *[good | {"candidate": text} for text in bad]):
            eve.send("candidate", candidate)
        await eve.connect()
        for candidate in (good, good, None, *[good | {"candidate": text} for text in bad]):
            eve.send("candidate", candidate)
        for number in itertools.count(1):
            eve.send("candidate", good | {"candidate": f"candidate:{number} 1 udp 1 192.0.2.1 {number} typ host"})
            if number % 100 == 0:
                await scene.eve.drained()
            if scene.counted("rate_limited"):
                break
        await until(lambda: eve.errors == [ErrorCode.RATE_LIMITED])
        assert eve.up
    await until(lambda: scene.counted("ended_dtls") == 1)


def mangled(text: str) -> list[str]:
    """A real offer with one line after another cut, doubled, emptied or turned into something else."""
    lines = text.splitlines(keepends=True)
    wounds: list[Callable[[str], str]] = [
        lambda line: "",
        lambda line: line * 2,
        lambda line: line[: len(line) // 2] + "\r\n",
        lambda line: line.replace(":", ""),
        lambda line: line[:2] + "\x00\xff" * 20 + "\r\n",
    ]
    return ["".join([*lines[:at], wounds[at % len(wounds)](line), *lines[at + 1 :]]) for at, line in enumerate(lines)]


NONSENSE = [
    "v=0",
    "nonsense",
    "\r\n" * 1000,
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 400,
    "v=0\r\nm=video\r\n",
    "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF\r\na=rtpmap:\r\na=fmtp\r\n",
    "v=0\r\na=group:BUNDLE 0 0 0\r\na=ice-ufrag:\r\na=fingerprint:\r\nm=video x y z\r\n",
]


async def test_descriptions_that_make_no_sense_are_refused(scene: Scene) -> None:
    for text in NONSENSE:
        scene.speak("offer", text)
    await until(lambda: len(scene.codes()) == len(NONSENSE))
    assert set(scene.codes()) <= {"bad_request", "codec", "too_large"}
    assert not [leaf for leaf in scene.service.server.participants if leaf.peer == "eve"]


async def test_real_offers_with_a_line_gone_wrong_get_an_answer_or_a_code(mosquitto: StartMosquitto) -> None:
    """Each from its own leaf and in its own session; those that are answered time out, as nobody connects."""
    url = mosquitto().url
    texts = [text for name in NAMES[:2] for text in mangled(offer(name)) if len(text) < MAX_PAYLOAD_BYTES // 2]
    async with unharmed(url, limits__producers_per_room=1000, limits__viewers_per_room=1000) as scene:
        for number, text in enumerate(texts):
            leaf = f"mangled/{('pub', 'view', 'join')[number % 3]}/eve-{number}"
            scene.speak("offer", text, leaf=leaf, clientid=f"eve-{number}")
            if number % 100 == 99:
                await scene.eve.drained()  # a broker drops what a client's queue cannot take
        answered = refused = 0

        def count() -> bool:
            nonlocal answered, refused
            heard = [
                message.payload for message in scene.eve.messages or () if message.topic.startswith("sfu/mangled/")
            ]
            answered = sum(b'"type":"answer"' in payload for payload in heard)
            refused = sum(b'"type":"error"' in payload for payload in heard)
            return answered + refused == len(texts)

        await until(count, 90)
        assert answered > len(texts) // 2
        assert refused
        for each, participant in list(scene.service.server.participants.items()):
            if each.room == "mangled":
                scene.speak("bye", {}, leaf=str(each), clientid=each.peer, session=participant.session)


TOPICS = [
    "sfu/bridge/pub/eve",
    "sfu/view/pub/eve",
    "sfu/front/state/view/eve",
    "sfu/front!/view/eve",
    "sfu/-front/view/eve",
    "sfu/front/view/eve with spaces",
    "sfu/front/view/émile",
    "sfu/" + "x" * 64 + "/view/eve",
    "sfu/front/view/" + "x" * 65,
    "sfu/../view/eve",
    "sfu/$SYS/view/eve",
    "sfu//view/eve",
    "sfu/bridge/request/" + "x" * 65,
]
UNHEARD = ["sfu/a/b/c/d/e/view/eve", "sfu/front/watch/eve", "sfu/front/view/eve/more", "sfuu/front/view/eve"]


async def test_rooms_and_topics_outside_the_grammar_do_not_exist(scene: Scene) -> None:
    for topic in (*TOPICS, *UNHEARD):
        scene.eve.publish(topic, json.dumps(BASE | {"type": "offer", "data": offer(NAMES[0])}))
    await until(lambda: scene.counted("outside_grammar") == len(TOPICS))
    await scene.eve.drained()
    answered = {topic: payload for topic, payload in scene.eve.latest.items() if b'"clientid":"sfu-' in payload}
    meant_as_leaves = {topic for topic in TOPICS if "/request/" not in topic}
    assert answered.keys() & {*TOPICS, *UNHEARD} == meant_as_leaves
    assert all(b'"code":"bad_request"' in answered[topic] for topic in meant_as_leaves)


async def test_commands_that_do_not_exist_are_told_so(scene: Scene) -> None:
    scene.eve.publish("sfu/bridge/request/dance", '{"transaction": [1]}')
    scene.eve.publish("sfu/bridge/request/sing", b"\xff")
    await until(lambda: "sfu/bridge/response/sing" in scene.eve.latest)
    assert scene.eve.json("sfu/bridge/response/dance")["transaction"] == [1]
    assert scene.eve.json("sfu/bridge/response/sing")["status"] == "error"


async def test_messages_without_a_session_are_counted(scene: Scene) -> None:
    scene.speak("bye", {})
    scene.speak("select", {"mid": "v0", "peer": "cam1"})
    scene.speak("candidate", None)
    scene.speak("tracks", {"slots": []})
    scene.speak("answer", "v=0")
    await until(lambda: scene.counted("no_session") == 4)  # the candidate may be early: it waits, for a while
    await scene.answered()


async def test_selecting_what_is_not_there_is_a_bad_request_and_changes_nothing(scene: Scene) -> None:
    viewer = PeerViewer()
    async with raw_peer(scene.eve, "front/view/eve", viewer) as eve:
        await eve.connect()
        await viewer.shows("cam1", "v0", "a0")
        eve.send("select", {"mid": "v7", "peer": "cam1"})
        eve.send("select", {"mid": "v0", "peer": "cam1", "room": "elsewhere"})
        eve.send("select", {"mid": "v0", "peer": "cam1", "track": "audio"})
        await until(lambda: eve.errors == [ErrorCode.BAD_REQUEST] * 3)
        await viewer.shows("cam1", "v0", "a0")
        eve.send("bye", {})


async def test_a_camera_that_offers_no_known_codec_is_told(scene: Scene) -> None:
    async with raw_peer(scene.eve, "front/pub/eve", PeerCamera()) as eve:
        eve.send("offer", (await eve.make_offer()).replace("VP8", "FLV1").replace("opus", "mp3"))
        await until(lambda: eve.errors == [ErrorCode.CODEC])


JUNK = [
    b"",
    b"\x00",
    b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"\x00" * 12,
    b"\x01\x01\x00\x00\x21\x12\xa4\x42" + b"\x07" * 12,
    b"\x00\x01\xff\xff\x21\x12\xa4\x42" + b"\x00" * 12,
    b"\x15\xfe\xfd" + b"\x00" * 10 + b"\x02\x02\x28",
    b"\x16\xfe\xfd" + b"\x00" * 60,
    b"\x17\xfe\xfd" + b"\x00" * 60,
    b"\x80\x60" + b"\x00" * 40,
    b"\x80\xc8" + b"\x00" * 40,
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff" * 1400,
    b"\x80" * 65000,
]


async def test_junk_on_the_media_port_is_counted_and_never_answered(scene: Scene) -> None:
    port = scene.service.port
    before = port.drops.total()
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(5)]
        for stranger in strangers:
            stranger.setblocking(False)
            for junk in JUNK:
                stranger.sendto(junk, ("127.0.0.1", port.port))
        await until(lambda: port.drops.total() == before + len(JUNK) * len(strangers))
        for stranger in strangers:
            with pytest.raises(BlockingIOError):
                stranger.recv(2048)


async def test_a_half_open_session_ends_by_itself_and_is_told(scene: Scene) -> None:
    """Some time after the answer nobody has connected: the place is free again."""
    async with raw_peer(scene.eve, "front/view/eve") as eve:
        eve.send("offer", await eve.make_offer())
        await until(lambda: eve.answers)
        scene.service.server.participants[eve.leaf].transport.agent.limits = AgentTimeouts(half_open=1.0)
        await until(lambda: scene.counted("ended_timeout") == 1)
        await until(lambda: any(getattr(body, "reason", None) == "timeout" for body in eve.messages))


async def test_a_legacy_caller_gets_no_words_it_does_not_know(scene: Scene) -> None:
    async with raw_peer(scene.eve, "front/view/eve", session=None) as eve:
        await eve.connect()
        eve.send("select", {"mid": "nowhere", "peer": "cam1"})
        await until(lambda: eve.errors == [ErrorCode.BAD_REQUEST])
        assert {type(body).type for body in eve.messages} == {"answer", "error"}
        assert isinstance(eve, RawPeer)
        eve.send("bye", {})
