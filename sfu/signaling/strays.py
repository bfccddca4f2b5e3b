"""Offers on topics that are no leaves: the answer that says what is wrong with the topic.

Owns who gets one. Pure: `now` comes in, in seconds.
"""

from __future__ import annotations

from typing import Final

from sfu.signaling import messages
from sfu.signaling.bodies import ErrorCode, ErrorNotice, Offer, SignalError
from sfu.signaling.messages import Envelope

_INTERVAL_S: Final = 5.0
"""Between two answers on one topic."""
_MAX_TOPICS: Final = 50
"""Topics that are answered in this time: any client can invent more."""


class Strays:
    """The server's answers to stray offers. No server sends offers: two of them never answer each other."""

    def __init__(self, clientid: str) -> None:
        self._clientid = clientid
        self._answered_at: dict[str, float] = {}

    def answer(self, topic: str, payload: bytes, mistake: str, now: float) -> bytes | None:
        """Returns the message to publish on the topic; None if it is no offer, or the topic had its answer."""
        try:
            envelope = messages.parse(payload)
            if envelope is None or not isinstance(envelope.body, Offer) or envelope.clientid == self._clientid:
                return None
            session = envelope.session
        except SignalError as error:
            if not error.answerable or error.session is None:
                return None
            session = error.session
        self._answered_at = {other: at for other, at in self._answered_at.items() if now - at < _INTERVAL_S}
        if topic in self._answered_at or len(self._answered_at) >= _MAX_TOPICS:
            return None
        self._answered_at[topic] = now
        return messages.dump(Envelope(self._clientid, ErrorNotice(ErrorCode.BAD_REQUEST, mistake), session=session))
