"""A broker's login that is renewed in its file: the server uses it at its next connection."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sfu import settings
from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.waiting import PATIENCE_S, until

UNUSED = {"http": "", "media.port": 0, "media.bind": "127.0.0.1", "media.announce": "127.0.0.1"}


@dataclass
class Renewed:
    """A broker, the file with the server's login at it, and how the server's settings are read."""

    broker: Mosquitto
    login: Path
    load: Callable[[], settings.Settings]

    def write(self, password: str) -> None:
        self.login.write_text(f"mqtt://sfu:{password}@127.0.0.1:{self.broker.port}\n")

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Service]:
        async with Service(self.load(), self.load) as service:
            await service.link.wait_connected(PATIENCE_S)
            yield service


@pytest.fixture
def renewed(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Renewed:
    """The password is "first"."""
    login = tmp_path / "broker"
    command_line = {"broker": f"@{login}", **UNUSED}
    load = functools.partial(settings.load, command_line=command_line, secrets=Path("/nonexistent"))
    made = Renewed(mosquitto(passwords={"sfu": "first"}), login, load)
    made.write("first")
    return made


async def test_a_password_that_was_renewed_in_its_file_is_used_at_the_next_connection(renewed: Renewed) -> None:
    async with renewed.connected() as service:
        renewed.broker.set_passwords({"sfu": "second"})
        renewed.write("second")
        renewed.broker.restart()
        await until(lambda: service.link.counters["connects"] == 2)


async def test_the_last_login_is_used_while_its_file_cannot_be_read(
    renewed: Renewed, caplog: pytest.LogCaptureFixture
) -> None:
    async with renewed.connected() as service:
        renewed.login.unlink()
        renewed.broker.restart()
        await until(lambda: service.link.counters["connects"] == 2)
    assert "cannot read the broker's login again" in caplog.text
