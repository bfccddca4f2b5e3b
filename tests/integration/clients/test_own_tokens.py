"""Client commands on the server's machine make their own tokens; on another machine they are given one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sfu.access import served
from sfu.access.keys import kept_or_new_key
from sfu.access.rights import Use
from sfu.clients.proof.source import MintedToken
from sfu.signaling.topics import Leaf
from tests.helpers.brokers import Mosquitto
from tests.helpers.media import make_file
from tests.helpers.sealed_front import HIDDEN, SealedFront, sealed_front
from tests.helpers.server_process import command
from tests.helpers.serving import serving
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]
BASELINE = {"bf": "0", "profile": "baseline", "tune": "zerolatency"}


@asynccontextmanager
async def sealed_server(broker: Mosquitto, state: Path) -> AsyncIterator[SealedFront]:
    """A server that takes sealed words alone, whose state directory this is."""
    key = kept_or_new_key(state)
    served.note(state, {served.place(broker.url.host, broker.url.port, "sfu"): "sealed"})
    async with serving(broker.url, base=HIDDEN), sealed_front(broker.url, key) as front:
        yield front


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(make_file(tmp_path / "camera.mp4", options=BASELINE, seconds=1))


async def test_publish_view_and_load_need_no_token_on_the_servers_machine(
    mosquitto: Start, tmp_path: Path, video: str
) -> None:
    broker, state = mosquitto(), tmp_path / "state"
    at = ("--broker", f"mqtt://localhost:{broker.url.port}")
    load = ("load", "--publishers", "1", "--viewers", "2", "--rooms", "1", "--seconds", "1", "--bitrate", "300k")
    async with sealed_server(broker, state):
        async with command("publish", "yard", video, "--loop", *at, SFU_STATE=str(state)) as camera:
            await until(lambda: "connected" in camera.log)
            async with command("view", "yard", "--seconds", "2", "--json", *at, SFU_STATE=str(state)) as viewer:
                assert await viewer.ended() == 0
            assert json.loads(viewer.log.splitlines()[-1])["slots"][0]["packets"] > 10
        async with command(*load, *at, SFU_STATE=str(state)) as test:
            assert await test.ended() == 0, test.log


async def test_a_recorder_on_the_servers_machine_records_a_sealed_room(
    mosquitto: Start, tmp_path: Path, video: str
) -> None:
    broker, state, recordings = mosquitto(), tmp_path / "state", tmp_path / "recordings"
    at = ("--broker", f"mqtt://127.0.0.1:{broker.url.port}")
    async with (
        sealed_server(broker, state),
        command("publish", "yard/gate", video, "--id", "cam", "--loop", *at, SFU_STATE=str(state)),
        command(*("serve", "yard", "--dir", str(recordings), *at), module="recorder", SFU_STATE=str(state)) as recorder,
    ):
        await until(lambda: recorder.log.count("connected"))
        await until(lambda: any(path.stat().st_size for path in recordings.rglob("*.mp4")))


async def test_a_given_token_seals_on_another_machine_and_shows_nowhere(
    mosquitto: Start, tmp_path: Path, video: str
) -> None:
    broker, state = mosquitto(), tmp_path / "state"
    at = ("--broker", f"mqtt://127.0.0.1:{broker.url.port}")
    async with sealed_server(broker, state) as front:
        source = MintedToken(lambda: front.key, Use.SEALED)
        token = source.current(Leaf.parse("yard/pub/porch"))
        assert token is not None
        path = tmp_path / "token"
        path.write_text(f"{token}\n", encoding="utf-8")
        for given in (("--token", token), ("--token", f"@{path}")):
            async with command("publish", "yard", video, "--loop", *given, *at, SFU_STATE=str(tmp_path)) as camera:
                await until(lambda camera=camera: "connected" in camera.log)  # its id is that of the token
                assert token not in camera.shown_arguments
                assert token.rpartition(".")[2] not in camera.log


async def test_a_damaged_or_absent_token_is_said(mosquitto: Start, tmp_path: Path, video: str) -> None:
    broker = mosquitto()
    at = ("--broker", f"mqtt://127.0.0.1:{broker.url.port}", "--base", "nobody")
    token = MintedToken(lambda: b"k" * 32, Use.SEALED).current(Leaf.parse("yard/pub/porch"))
    assert token is not None
    async with command("publish", "yard", video, "--token", f"{token}!", *at) as camera:
        assert await camera.ended() == 1
        assert "the token is damaged: copy all of it" in camera.log
    async with command("publish", "yard", video, "--token", f"@{tmp_path / 'none'}", *at) as camera:
        assert await camera.ended() == 2
        assert "No such file" in camera.log
