"""Fixtures for all tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.brokers import Mosquitto
from tests.programs import need
from tests.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker on a busy machine is not gone because it takes its time."""
    monkeypatch.setattr("sfu.signaling.mqtt.ANSWER_TIMEOUT_S", PATIENCE_S)


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Mosquitto]]:
    """Starts real brokers: `broker = mosquitto(websocket=True, ...)`, options as in tests.brokers.Mosquitto."""
    program = need("mosquitto")
    brokers: list[Mosquitto] = []

    def start(**options: object) -> Mosquitto:
        directory: Path = tmp_path_factory.mktemp("mosquitto")
        brokers.append(Mosquitto(program, directory, **options))  # type: ignore[arg-type]
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.stop()
