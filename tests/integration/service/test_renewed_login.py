"""A broker's login that is renewed in its file: the server uses it at its next connection."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from sfu import settings
from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.waiting import PATIENCE_S, until

UNUSED = {"http": "", "media.port": 0, "media.bind": "127.0.0.1", "media.announce": "127.0.0.1"}


async def test_a_password_that_was_renewed_in_its_file_is_used_at_the_next_connection(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    broker = mosquitto(passwords={"sfu": "first"})
    login = tmp_path / "broker"
    login.write_text(f"mqtt://sfu:first@127.0.0.1:{broker.port}\n")
    load = functools.partial(
        settings.load, command_line={"broker": f"@{login}", **UNUSED}, secrets=Path("/nonexistent")
    )
    async with Service(load(), load) as service:
        await service.link.wait_connected(PATIENCE_S)
        broker.set_passwords({"sfu": "second"})
        login.write_text(f"mqtt://sfu:second@127.0.0.1:{broker.port}\n")
        broker.restart()
        await until(lambda: service.link.counters["connects"] == 2)


async def test_the_last_login_is_used_while_its_file_cannot_be_read(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = mosquitto(passwords={"sfu": "first"})
    login = tmp_path / "broker"
    login.write_text(f"mqtt://sfu:first@127.0.0.1:{broker.port}\n")
    load = functools.partial(
        settings.load, command_line={"broker": f"@{login}", **UNUSED}, secrets=Path("/nonexistent")
    )
    async with Service(load(), load) as service:
        await service.link.wait_connected(PATIENCE_S)
        login.unlink()
        broker.restart()
        await until(lambda: service.link.counters["connects"] == 2)
    assert "cannot read the broker's login again" in caplog.text
