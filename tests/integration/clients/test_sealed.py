"""Our own clients with a token that seals, on a broker that anybody writes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sfu.access.rights import Use
from sfu.clients.proof.source import MintedToken, TokenFile, TokenSource
from sfu.signaling import messages
from sfu.signaling.bodies import Bye, ErrorCode, ErrorNotice
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf
from tests.helpers.brokers import Mosquitto
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import publishing, watching
from tests.helpers.sealed_front import HIDDEN, sealed_front
from tests.helpers.serving import serving
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]
KEY = secrets.token_bytes(32)
CAMERA, EYE = "yard/pub/cam", "yard/view/eye"


def sealing(key: bytes = KEY, lasts_s: float = 3600.0) -> TokenSource:
    return MintedToken(lambda: key, Use.SEALED, lasts_s=lasts_s)


async def test_camera_and_viewer_meet_and_the_broker_sees_no_address(mosquitto: Start) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url, base=HIDDEN),
        sealed_front(broker.url, KEY),
        mqtt_client(broker.url) as stranger,
        publishing(broker.url, CAMERA, token=sealing()) as camera,
        watching(broker.url, EYE, token=sealing()) as (viewer, peer),
    ):
        await viewer.receives(camera, "v0")
        peer.offer(viewer.sections)
        peer.select("v0", "cam")
        await viewer.missed_nothing(camera)
        await stranger.drained()
    seen = b"".join(message.payload for message in stranger.messages or ())
    assert b'"sealed"' in seen
    for secret in (b"ice-ufrag", b"candidate", b"127.0.0.1", b'"session"'):
        assert secret not in seen


async def test_forged_words_move_nobody(mosquitto: Start) -> None:
    """Neither clear words, nor those of another key, nor words of the server that are said twice, nor boot ids."""
    broker = mosquitto()
    async with (
        serving(broker.url, base=HIDDEN) as service,
        sealed_front(broker.url, KEY) as front,
        mqtt_client(broker.url) as stranger,
        publishing(broker.url, CAMERA, token=sealing()) as camera,
        watching(broker.url, EYE, token=sealing()) as (viewer, peer),
    ):
        await viewer.receives(camera, "v0")
        session = service.server.participants[Leaf.parse(EYE)].session
        for body in (Bye("replaced"), ErrorNotice(ErrorCode.UNAUTHORIZED, "no")):
            stranger.publish(f"sfu/{EYE}", messages.dump(Envelope("front", body, session=session)))
        stranger.publish(f"sfu/{EYE}", front.server[EYE])
        for boot in ("one", "two"):
            stranger.publish("sfu/bridge/info", json.dumps({"boot": boot}))
            await viewer.receives(camera, "v0", ahead=250)  # 2.5 s of media, longer than any doubt
        await viewer.missed_nothing(camera)
        assert peer.up
        assert (viewer.sessions, viewer.downs, viewer.error) == (1, [], None)
        assert service.server.counters["sessions"] == 2


async def test_a_rogue_server_gets_no_camera(mosquitto: Start) -> None:
    """It has another key, answers on the same base, and writes its own boot id again and again."""
    broker, rogue_key = mosquitto(), secrets.token_bytes(32)
    async with (
        serving(broker.url, base=HIDDEN) as service,
        sealed_front(broker.url, KEY),
        sealed_front(broker.url, rogue_key) as rogue,
        publishing(broker.url, CAMERA, token=sealing()) as camera,
        watching(broker.url, EYE, token=sealing()) as (viewer, _),
    ):
        await viewer.receives(camera, "v0", ahead=300)
        await viewer.missed_nothing(camera)
        assert rogue.kids == []
        assert (viewer.sessions, viewer.downs) == (1, [])
        assert service.server.counters["sessions"] == 2


async def test_a_retained_forged_boot_id_holds_nobody_off(mosquitto: Start) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url, base=HIDDEN),
        sealed_front(broker.url, KEY),
        mqtt_client(broker.url) as stranger,
        publishing(broker.url, CAMERA, token=sealing()) as camera,
    ):
        stranger.link.set_state("sfu/bridge/info", json.dumps({"boot": "forged"}).encode())
        async with watching(broker.url, EYE, token=sealing()) as (viewer, _):
            await viewer.receives(camera, "v0")


async def test_a_peer_whose_clock_went_back_goes_on_above_its_last_number(
    mosquitto: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = mosquitto()
    token, leaf = sealing(), Leaf.parse(EYE)
    text = token.current(leaf)
    assert text is not None
    async with serving(broker.url, base=HIDDEN), sealed_front(broker.url, KEY) as front:
        front.least[f"sfu/{EYE} {text.rpartition('.')[0]}"] = time.time_ns() // 1_000_000 + 3_600_000
        monkeypatch.setattr("sfu.clients.peer.OFFER_WAITS_S", (20.0,))  # no second copy helps
        async with watching(broker.url, EYE, token=token) as (viewer, peer):
            assert peer.up
            assert front.replayed[EYE] == 1
            assert viewer.downs == []


async def test_a_session_outlives_the_token_that_began_it(mosquitto: Start) -> None:
    broker = mosquitto()
    async with (
        serving(broker.url, base=HIDDEN),
        sealed_front(broker.url, KEY) as front,
        publishing(broker.url, CAMERA, token=sealing()) as camera,
        watching(broker.url, EYE, token=sealing(lasts_s=5.0)) as (viewer, peer),
    ):
        await viewer.receives(camera, "v0")
        first = front.kids[-1]
        seen = len(front.kids)
        await until(lambda: len(front.kids) >= seen + 2)
        await viewer.missed_nothing(camera)
        assert front.kids[-1] != first
        assert peer.up
        assert (viewer.sessions, viewer.downs) == (1, [])


async def test_a_token_file_that_is_renewed_brings_a_refused_camera_in(mosquitto: Start, tmp_path: Path) -> None:
    broker, path = mosquitto(), tmp_path / "token"
    path.write_text("", encoding="utf-8")
    async with serving(broker.url, base=HIDDEN), sealed_front(broker.url, KEY):
        waiting = watching(broker.url, EYE, token=TokenFile(path))
        entering = asyncio.ensure_future(waiting.__aenter__())
        await asyncio.wait({entering}, timeout=0.5)
        assert not entering.done()
        text = sealing().current(Leaf.parse(EYE))
        assert text is not None
        path.write_text(text, encoding="utf-8")
        viewer, peer = await entering
        assert peer.up
        assert viewer.downs[0].startswith("there is no token in ")
        await waiting.__aexit__(None, None, None)


async def test_without_a_boot_id_a_sealed_peer_says_what_is_missing(mosquitto: Start) -> None:
    broker = mosquitto()
    waiting = watching(broker.url, EYE, token=sealing())
    entering = asyncio.ensure_future(waiting.__aenter__())
    await asyncio.wait({entering}, timeout=4.5)
    async with serving(broker.url, base=HIDDEN), sealed_front(broker.url, KEY):
        viewer, _ = await entering
        assert any("sfu/bridge/info is empty" in down for down in viewer.downs)
        await waiting.__aexit__(None, None, None)


async def test_forged_boot_ids_end_no_session_that_has_nothing_to_send(mosquitto: Start) -> None:
    """A viewer in an empty room hears little; it asks, and its own server answers."""
    broker = mosquitto()
    async with (
        serving(broker.url, base=HIDDEN),
        sealed_front(broker.url, KEY) as front,
        mqtt_client(broker.url) as stranger,
        watching(broker.url, EYE, token=sealing()) as (viewer, peer),
    ):
        answers = 0
        for number in range(20):
            seen = front.server[EYE]
            stranger.publish("sfu/bridge/info", json.dumps({"boot": f"forged-{number}"}))
            with contextlib.suppress(AssertionError):  # the session may have heard something meanwhile
                await until(lambda seen=seen: front.server[EYE] != seen, 3.0)
                answers += 1
            if answers == 3:
                break
        assert answers == 3
        assert peer.up
        assert (viewer.sessions, viewer.downs) == (1, [])
