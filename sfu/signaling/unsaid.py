"""Messages that we cannot send or hear, because of the broker or of our own bounds: counted, and logged once each.

Owns the words for access rules. Never opens a connection.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

from sfu.signaling.broker_url import BrokerUrl

log = logging.getLogger(__name__)

_MAX_TOLD: Final = 20
"""Refusals that are logged: each room and each peer has topics of its own."""


class Unsaid:
    """The messages that one link could not send or hear.

    Counts `subscribe_refused`, `publish_refused`, `too_large` and `queue_full`.
    """

    def __init__(self, url: BrokerUrl, counters: Counter[str]) -> None:
        self._url = url
        self._counters = counters
        self._told: set[str] = set()

    def subscription(self, topic: str, reason: object) -> None:
        """Notes that the broker refuses a subscription."""
        self._counters["subscribe_refused"] += 1
        self._tell(f"the subscription of {topic}", reason)

    def publish(self, topic: str, reason: object) -> None:
        """Notes that the broker refuses a message of ours."""
        self._counters["publish_refused"] += 1
        self._tell(f"our messages on {topic}", reason)

    def unsent(self, reason: str, topic: str, payload: bytes) -> bool:
        """Notes a message that is not sent; `reason` is its counter. Returns False."""
        self._counters[reason] += 1
        level = logging.WARNING if self._counters[reason] == 1 else logging.DEBUG  # a flood would fill the log
        log.log(level, "not sent on %s (%d bytes): %s", topic, len(payload), reason.replace("_", " "))
        return False

    def _tell(self, what: str, reason: object) -> None:
        if what not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(what)
            log.error("the broker %s refuses %s (%s): check its access rules (ACL)", self._url, what, reason)
