"""Fixtures for all tests, and how many examples Hypothesis tries: few, for it tries others each time.

`HYPOTHESIS_PROFILE=long python -m pytest tests/unit` tries a thousand where a test names no number of its own.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers.brokers import Mosquitto
from tests.helpers.programs import need
from tests.helpers.waiting import PATIENCE_S

# A deadline would fail on a busy machine.
settings.register_profile("short", max_examples=30, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

# Most tests are about something else than access; those of access say `on`, or nothing (`access_on`).
os.environ["SFU_ACCESS__MODE"] = "open"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker on a busy machine is not gone because it takes its time."""
    monkeypatch.setattr("sfu.signaling.link.ANSWER_TIMEOUT_S", PATIENCE_S)


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test leaves nothing in the home of its user."""
    monkeypatch.setenv("SFU_STATE", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture
def access_on(state: None, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers and commands of this test have the mode of access that a stranger's first start has."""
    monkeypatch.delenv("SFU_ACCESS__MODE")
    monkeypatch.setenv("SFU_STATE", str(tmp_path_factory.mktemp("state")))  # another test's users are not known


@pytest.fixture
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Mosquitto]]:
    """Starts real brokers: `broker = mosquitto(websocket=True, ...)`, options as in tests.helpers.brokers.Mosquitto."""
    program = need("mosquitto")
    brokers: list[Mosquitto] = []

    def start(**options: object) -> Mosquitto:
        directory: Path = tmp_path_factory.mktemp("mosquitto")
        brokers.append(Mosquitto(program, directory, **options))  # type: ignore[arg-type]
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.stop()
