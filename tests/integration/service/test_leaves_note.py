"""A server notes for the commands of its user what its leaves ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from sfu import settings
from sfu.access import served
from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.serving import serving

Start = Callable[..., Mosquitto]


@pytest.mark.usefixtures("access_on")
async def test_each_server_of_a_machine_has_its_note(mosquitto: Start, tmp_path: Path) -> None:
    broker, state = mosquitto(), tmp_path / "state"
    port = broker.url.port
    async with (
        serving(broker.url, state=str(state)) as service,
        serving(broker.url, state=str(state), base="home", access__broker="tokens"),
        serving(broker.url, state=str(state), base="lab", access__mode="open"),
    ):
        assert service.http is not None
        door = served.place("localhost", service.http.port, "sfu")
        assert served.asked(state, door) == "tokens"
    asked = [served.asked(state, served.place("localhost", port, base)) for base in ("sfu", "home", "lab", "other")]
    assert asked == ["sealed", "tokens", "open", None]


@pytest.mark.usefixtures("access_on")
async def test_the_embedded_broker_is_trusted(tmp_path: Path) -> None:
    own = {"embedded_port": 0, "http": "", "media.port": 0, "recording.mode": "off", "state": str(tmp_path)}
    async with Service(settings.load(command_line=own, secrets=Path("/nonexistent"))) as service:
        place = served.place(service.broker_url.host, service.broker_url.port, "sfu")
        assert served.asked(tmp_path, place) == "trusted"


async def test_a_state_directory_that_cannot_be_written_is_said_and_serves_all_the_same(
    mosquitto: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        async with serving(mosquitto().url, state=str(tmp_path / "state")):
            pass
    assert "commands on this machine need --token" in caplog.text
