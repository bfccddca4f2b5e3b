"""When a lost link tries again, and what is said about it: back-off, the broker's reason codes, the log."""

from __future__ import annotations

import logging
import random
from collections import Counter

from sfu.signaling.broker_url import BrokerUrl

log = logging.getLogger(__name__)

STABLE_S = 10.0  # a connection that lasted so long was a good one: back-off starts anew

_UNSUPPORTED_PROTOCOL = frozenset((1, 132))  # MQTT 3.1.1 section 3.2.2.3, MQTT 5 section 3.2.2.2
_TAKEN_OVER = 142  # MQTT 5 section 3.14.2.1


class Reconnect:
    """The troubles of one link. `backoff`: ceiling of the first and of any wait, in seconds.

    Counts `connects`, `failures` (no connection came about), `losses` and `takeovers`.
    """

    def __init__(self, url: BrokerUrl, client_id: str, counters: Counter[str], backoff: tuple[float, float]) -> None:
        self._url = url
        self._client_id = client_id
        self._counters = counters
        self._backoff = backoff
        self._attempt = 0
        self._short_lived = 0
        self._said = ""

    def delay(self) -> float:
        """Seconds to wait, with full jitter: a thousand clients of a restarted broker must not come back together."""
        first, longest = self._backoff
        return random.uniform(0, min(longest, first * 2 ** min(max(self._attempt - 1, 0), 16)))

    def connected(self, version: str) -> None:
        """A connection is established."""
        self._counters["connects"] += 1
        self._said = ""
        log.info("connected to broker %s with MQTT %s", self._url, version)

    def failed(self, error: Exception, *, expected: bool = False) -> None:
        """No connection came about; `expected` when the next attempt goes about it differently, at once."""
        self._counters["failures"] += 1
        self._attempt += 1
        if not expected:
            self._say(f"broker {self._url} not reached: {_reason(error)}")

    def lost(self, error: Exception, lived: float) -> None:
        """An established connection ended after `lived` seconds."""
        self._counters["losses"] += 1
        stable = lived >= STABLE_S
        self._attempt = 0 if stable else self._attempt + 1
        self._short_lived = 0 if stable else self._short_lived + 1
        self._say(f"lost broker {self._url}: {_reason(error)}")
        if taken_over(error) or self._short_lived == 3:
            self._counters["takeovers"] += 1
            log.error(
                "the broker drops us as soon as we come: does another client use the client id %s?", self._client_id
            )

    def _say(self, text: str) -> None:
        """Once: a broker that is away for a night must not fill the log."""
        log.log(logging.DEBUG if text == self._said else logging.WARNING, "%s", text)
        self._said = text


def refuses_version(error: BaseException) -> bool:
    """Whether the broker does not speak our version of MQTT."""
    return not _UNSUPPORTED_PROTOCOL.isdisjoint(_codes(error))


def taken_over(error: BaseException) -> bool:
    """Whether the broker says that another client came with our client id."""
    return _TAKEN_OVER in _codes(error)


def _codes(error: BaseException | None) -> set[int]:
    """The MQTT reason codes behind an error: the broker's, and those that paho makes up."""
    codes = set()
    while error is not None:
        code = getattr(error, "rc", None)
        value = getattr(code, "value", code)
        if isinstance(value, int):
            codes.add(value)
        error = error.__cause__
    return codes


def _reason(error: BaseException) -> str:
    return str(error.__cause__ or error)
