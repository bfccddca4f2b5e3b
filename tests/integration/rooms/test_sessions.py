"""Sessions word by word: offers repeated and renewed, places that are taken, limits that are reached."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from sfu.signaling.bodies import MAX_PAYLOAD_BYTES, Bye, ErrorCode, ErrorNotice
from tests.helpers.brokers import Mosquitto
from tests.helpers.cast import Caller, Lens, Screen, calling, filming, watching, window, wire
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]


def notices(caller: Caller) -> list[ErrorNotice]:
    return [body for body in caller.heard if isinstance(body, ErrorNotice)]


async def refused(caller: Caller, code: ErrorCode) -> ErrorNotice:
    """Offers, and returns the error that must come instead of an answer."""
    caller.say("offer", await caller.make_offer())
    await until(lambda: caller.errors)
    assert caller.errors == [code]
    assert not caller.answers
    return notices(caller)[0]


async def test_a_re_offer_adds_and_removes_windows_and_leaves_the_others_running(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    screen = Screen()
    async with (
        serving(url),
        wire(url) as home,
        filming(url, "front/pub/cam1") as first,
        calling(home, "front/view/anna", screen) as anna,
    ):
        await anna.call()
        await screen.sees(first)
        ssrcs = {section.mid: section.ssrcs for section in screen.answer.sections} if screen.answer else {}
        async with filming(url, "front/pub/cam2") as second:
            await anna.call([*window(0), *window(1)])
            assert screen.answer is not None
            assert {section.mid: section.ssrcs for section in screen.answer.sections}.items() >= ssrcs.items()
            await screen.missed_nothing(second, "v1", "a1")
            await screen.missed_nothing(first, "v0", "a0")
            await anna.call(window(0))
            await until(lambda: set(screen.slots) == {"v0", "a0"})
            silent = len(screen.received["v1"])
            await screen.missed_nothing(first, "v0", "a0")
            assert len(screen.received["v1"]) == silent
        assert not anna.closed


async def test_a_camera_s_re_offer_may_add_and_drop_sound(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    lens = Lens()
    async with (
        serving(url) as service,
        wire(url) as home,
        watching(url, "front/view/anna") as (screen, _),
        calling(home, "front/pub/cam1", lens, sections=lens.sections[:1]) as camera,
    ):
        await camera.call()
        film = asyncio.create_task(lens.film(camera))
        await screen.missed_nothing(lens)
        await screen.told(None, "a0")
        await camera.call(lens.sections)
        await screen.missed_nothing(lens, "v0", "a0")
        await camera.call(lens.sections[:1])
        await screen.told(None, "a0")
        await screen.missed_nothing(lens, "v0")
        film.cancel()
        assert service.server.counters["sessions"] == 2


async def test_the_same_offer_again_gets_the_same_answer_again(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with serving(url) as service, wire(url) as home, calling(home, "front/view/anna") as anna:
        await anna.call()
        for _ in range(4):
            anna.say("offer", anna.offer)
        await until(lambda: len(anna.answers) == 5)
        assert len(set(anna.answers)) == 1
        assert anna.up
        assert service.server.counters["sessions"] == 1


async def test_viewers_of_a_camera_that_stands_still_hear_that_the_way_to_us_lives(
    mosquitto: StartMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By which the page tells a dead way, after 0.6 s, from a quiet one."""
    url = mosquitto().url
    lens, screen, heard = Lens("video"), Screen(), list[float]()
    clock = asyncio.get_running_loop().time
    async with (
        serving(url),
        wire(url) as home,
        calling(home, "front/pub/cam1", lens) as camera,
        calling(home, "front/view/anna", screen) as anna,
    ):
        await camera.call()
        await anna.call()

        def seen() -> bool:
            lens.shoot(camera)
            return bool(screen.received["v0"])

        await until(seen)
        monkeypatch.setattr(screen, "on_rtcp", lambda _: heard.append(clock()))
        since = clock()
        await until(lambda: len(heard) >= 4)
    assert max(later - earlier for earlier, later in itertools.pairwise([since, *heard[:4]])) < 1.0


async def test_a_newer_session_on_a_leaf_replaces_the_older_which_is_told(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with serving(url) as service, wire(url) as home, wire(url) as phone:
        async with calling(home, "front/view/anna") as old, calling(phone, "front/view/anna") as new:
            await old.call()
            await new.call()
            await until(lambda: Bye("replaced") in old.heard)
            await until(lambda: old.closed == ["dtls"])
            assert new.up
            assert len(service.server.participants) == 1
        await until(lambda: not service.server.participants)  # nobody said bye: DTLS did


@pytest.mark.parametrize("role", ["pub", "join"])
async def test_reject_keeps_who_is_there_and_tells_who_comes(mosquitto: StartMosquitto, role: str) -> None:
    url = mosquitto().url
    lens = Lens()
    async with (
        serving(url, same_peer="reject"),
        wire(url) as home,
        watching(url, "front/view/anna") as (screen, _),
        filming(url, "front/pub/cam1") as first,
        wire(url) as stranger,
        calling(stranger, f"front/{role}/cam1", lens) as second,
    ):
        await screen.sees(first)
        await refused(second, ErrorCode.PRODUCER_EXISTS)
        await screen.missed_nothing(first)
        await until(lambda: [it["peer"] for it in home.json("sfu/front/state").get("producers", ())] == ["cam1"])


@pytest.mark.parametrize(
    ("limit", "leaves"),
    [
        ({"limits__viewers_per_room": 1}, ("front/view/anna", "front/view/bert")),
        ({"limits__producers_per_room": 1}, ("front/pub/cam1", "front/pub/cam2")),
        ({"limits__rooms": 1}, ("front/view/anna", "back/view/bert")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_beyond_a_limit_the_next_is_told_until_there_is_room(
    mosquitto: StartMosquitto, limit: dict[str, Any], leaves: tuple[str, str]
) -> None:
    url = mosquitto().url
    players = [Lens() if "/pub/" in leaf else Screen() for leaf in leaves]
    async with (
        serving(url, **limit) as service,
        wire(url) as home,
        calling(home, leaves[0], players[0]) as first,
        calling(home, leaves[1], players[1]) as second,
    ):
        await first.call()
        await refused(second, ErrorCode.LIMIT)
        assert first.up
        await until(lambda: len(service.port._listeners) == 1)  # the refused one's agent has left the port
        first.say("bye", {})
        await until(lambda: not service.server.participants)
        second.heard.clear()
        await second.call()


async def test_too_many_messages_are_refused_once_with_a_time_to_come_back(mosquitto: StartMosquitto) -> None:
    url = mosquitto().url
    async with (
        serving(url, limits__messages=10) as service,
        wire(url) as home,
        filming(url, "front/pub/cam1") as lens,
        watching(url, "front/view/bert") as (screen, _),
        calling(home, "front/view/anna") as anna,
    ):
        for _ in range(40):
            anna.say("select", {"mid": "v0", "peer": "cam1"})
        await until(lambda: service.server.counters["rate_limited"] == 30)
        await home.drained()
        (notice,) = notices(anna)
        assert notice.code is ErrorCode.RATE_LIMITED
        assert notice.retry_after is not None
        assert 0 < notice.retry_after <= 10
        await screen.missed_nothing(lens)


async def test_a_message_of_64_KiB_is_read_and_one_byte_more_refused(mosquitto: StartMosquitto) -> None:  # noqa: N802
    url = mosquitto().url
    async with serving(url) as service, wire(url) as home, calling(home, "front/view/anna") as anna:
        offer = {"command": "signal", "clientid": "anna", "type": "offer", "session": anna.session, "v": 2}
        text = json.dumps(offer | {"data": await anna.make_offer()})
        home.publish(anna.topic, text.ljust(MAX_PAYLOAD_BYTES))
        await until(lambda: anna.answers)
        home.publish(anna.topic, text.ljust(MAX_PAYLOAD_BYTES + 1))
        await until(lambda: anna.errors == [ErrorCode.TOO_LARGE])
        assert len(service.server.participants) == 1
