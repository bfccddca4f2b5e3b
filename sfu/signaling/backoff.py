"""Reconnecting: how long to wait before the next attempt, and what to log and count about the last one.

Owns back-off and the reading of the broker's reason codes. Never opens a connection.
"""

from __future__ import annotations

import logging
import random
import socket
from collections import Counter

from sfu.signaling.broker_url import BrokerUrl

log = logging.getLogger(__name__)

STABLE_S = 10.0
"""After a connection that lasted so long, back-off starts again from its first step."""
_MAX_DOUBLINGS = 16

_UNSUPPORTED_PROTOCOL = frozenset((1, 132))  # MQTT 3.1.1 section 3.2.2.3, MQTT 5 section 3.2.2.2
_TAKEN_OVER = 142  # MQTT 5 section 3.14.2.1


def full_jitter(failures: int, first_s: float, longest_s: float, *, least_s: float = 0.0) -> float:
    """Returns a random wait in seconds after `failures` failures in a row.

    Its ceiling is `first_s`, doubled with each failure, up to `longest_s`; its floor is `least_s`. The waits of many
    clients spread over the whole span, so that they do not all come back to a restarted server at once.
    """
    return random.uniform(least_s, min(longest_s, first_s * 2 ** min(failures, _MAX_DOUBLINGS)))


class Reconnect:
    """The history of one link's connections. `backoff`: ceiling of the first wait and of any wait, in seconds.

    Counts `connects`, `failures` (attempts without a connection), `losses` and `takeovers`.
    """

    def __init__(self, url: BrokerUrl, client_id: str, counters: Counter[str], backoff: tuple[float, float]) -> None:
        self._url = url
        self._client_id = client_id
        self._counters = counters
        self._backoff = backoff
        self._attempt = 0
        self._short_lived = 0
        self._logged = ""

    def delay(self) -> float:
        """Returns the seconds to wait before the next attempt."""
        return full_jitter(max(self._attempt - 1, 0), *self._backoff)

    def connected(self, version: str) -> None:
        """Notes that a connection is established, with this version of MQTT."""
        self._counters["connects"] += 1
        self._logged = ""
        log.info("connected to broker %s with MQTT %s", self._url, version)

    def failed(self, error: Exception, *, expected: bool = False) -> None:
        """Notes an attempt without a connection; `expected`: the next one uses another version of MQTT, at once."""
        self._counters["failures"] += 1
        self._attempt += 1
        if not expected:
            self._log_once(f"cannot connect to broker {self._url}: {self._reason(error)}")

    def lost(self, error: Exception, lived: float) -> None:
        """Notes that a connection ended after `lived` seconds."""
        self._counters["losses"] += 1
        stable = lived >= STABLE_S
        self._attempt = 0 if stable else self._attempt + 1
        self._short_lived = 0 if stable else self._short_lived + 1
        self._log_once(f"lost the connection to broker {self._url}: {self._reason(error)}")
        if taken_over(error) or self._short_lived == 3:
            self._counters["takeovers"] += 1
            log.error(
                "the broker ends each connection at once: check that no other client uses the client id %s",
                self._client_id,
            )

    def _reason(self, error: BaseException) -> str:
        cause = error.__cause__ or error
        if isinstance(cause, socket.gaierror):
            return f"cannot resolve host {self._url.host}"
        if isinstance(cause, TimeoutError) or "timed out" in str(cause):
            return "it did not answer in time"
        return (isinstance(cause, OSError) and cause.strerror) or str(cause)

    def _log_once(self, text: str) -> None:
        """Logs a warning; a repeated one at debug level, so that a night without the broker does not fill the log."""
        log.log(logging.DEBUG if text == self._logged else logging.WARNING, "%s", text)
        self._logged = text


def refuses_version(error: BaseException) -> bool:
    """Returns True if the broker does not speak our version of MQTT."""
    return not _UNSUPPORTED_PROTOCOL.isdisjoint(_codes(error))


def taken_over(error: BaseException) -> bool:
    """Returns True if the broker says that another client has connected with our client id."""
    return _TAKEN_OVER in _codes(error)


def _codes(error: BaseException | None) -> set[int]:
    """Returns the MQTT reason codes behind an error: the broker's, and those that paho itself makes."""
    codes = set()
    while error is not None:
        code = getattr(error, "rc", None)
        value = getattr(code, "value", code)
        if isinstance(value, int):
            codes.add(value)
        error = error.__cause__
    return codes
