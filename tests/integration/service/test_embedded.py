"""`sfu serve` with its own broker, as README and docs/load-testing.md start it: commands and pages find their way."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import aiomqtt
import pytest

from sfu import settings
from sfu.service import Service
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.embedded_login import file_of
from tests.helpers.brokers import free_port
from tests.helpers.media import make_file
from tests.helpers.waiting import PATIENCE_S, until


def serve(port: int) -> Service:
    chosen = {"embedded_port": port, "http": "127.0.0.1:0", "media.port": 0, "media.bind": "127.0.0.1"}
    return Service(settings.load(command_line=chosen, secrets=Path("/nonexistent")))


async def test_a_command_without_a_login_reaches_the_broker_of_its_user(tmp_path: Path) -> None:
    port = free_port()
    source = make_file(tmp_path / "source.mp4", options={"bf": "0", "g": "5"})
    async with serve(port) as service:
        command = ("publish", "frontdoor", str(source), "--loop", "--broker", f"mqtt://127.0.0.1:{port}")
        camera = await asyncio.create_subprocess_exec(sys.executable, "-m", "sfu", *command, env=os.environ)
        await until(lambda: service.rooms.state("frontdoor")["producers"])
        camera.terminate()
        async with asyncio.timeout(PATIENCE_S):
            assert await camera.wait() == 0


async def test_a_page_reaches_it_through_the_door_and_nobody_directly() -> None:
    port = free_port()
    async with serve(port) as service:
        assert service.http is not None
        door = {"transport": "websockets", "websocket_path": "/mqtt", "timeout": PATIENCE_S}
        v311 = aiomqtt.ProtocolVersion.V311
        async with aiomqtt.Client("127.0.0.1", service.http.port, protocol=v311, **door) as page:  # type: ignore[arg-type]
            await page.subscribe("sfu/bridge/state")
            async with asyncio.timeout(PATIENCE_S):
                assert (await anext(aiter(page.messages))).payload == b"online"
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", port, protocol=v311, timeout=3):
                pass
        kept = BrokerUrl.parse(file_of(settings.state_directory(), port).read_text().strip())
        assert kept == service.broker_url
    async with serve(port) as again:
        assert again.broker_url == kept


async def test_without_a_place_for_the_login_it_serves_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SFU_STATE", str(tmp_path / "file" / "state"))
    async with serve(free_port()) as service:
        await service.link.wait_connected(PATIENCE_S)
    assert "Set SFU_STATE to a directory that this user may write" in caplog.text
