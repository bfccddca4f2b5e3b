"""Back-off: from the first ceiling to the longest, always full jitter, anew after a connection that lasted."""

import socket
from collections import Counter

import pytest

from sfu.signaling.backoff import STABLE_S, Reconnect
from sfu.signaling.broker_url import BrokerUrl


@pytest.fixture
def reconnect(monkeypatch: pytest.MonkeyPatch) -> Reconnect:
    """Returns a backoff whose jitter is always the largest."""
    monkeypatch.setattr("sfu.signaling.backoff.random.uniform", lambda low, high: high if low == 0 else -1)
    return Reconnect(BrokerUrl("mqtt", "broker", 1883), "sfu", Counter(), (1.0, 60.0))


def test_waits_double_from_one_second_to_sixty(reconnect: Reconnect) -> None:
    ceilings = []
    for _ in range(2000):
        reconnect.failed(OSError("refused"))
        ceilings.append(reconnect.delay())
    assert ceilings[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert ceilings[-1] == 60


def test_a_connection_that_lasted_starts_anew_and_one_that_did_not_does_not(reconnect: Reconnect) -> None:
    for _ in range(5):
        reconnect.lost(OSError("reset"), STABLE_S - 1)
    assert reconnect.delay() == 16
    reconnect.lost(OSError("reset"), STABLE_S)
    assert reconnect.delay() == 1


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "cannot resolve host broker"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError(), "it did not answer in time"),
        (None, "it did not answer in time"),
    ],
)
def test_the_reason_is_said_in_words(
    cause: Exception | None, words: str, reconnect: Reconnect, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("Operation timed out")
    error.__cause__ = cause
    reconnect.failed(error)
    assert caplog.messages == [f"cannot connect to broker mqtt://broker:1883: {words}"]
