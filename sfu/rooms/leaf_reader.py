"""From the bytes on a leaf to its handling: how many messages a leaf may send, and which offer is next.

Owns the limits that hold before a message is handled. Never handles one itself, and never raises.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from sfu.rooms.admission import MessageRates
from sfu.rooms.offers import OfferClass, OfferQueue
from sfu.signaling import messages
from sfu.signaling.bodies import Bye, ErrorCode, Offer, SignalError
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf


class LeafReaderListener(Protocol):
    """The server of rooms, as messages reach it."""

    def handle(self, leaf: Leaf, envelope: Envelope) -> None:
        """Handles one message. Never raises."""

    def on_fault(self, leaf: Leaf, error: SignalError) -> None:
        """Counts a fault of a peer, and answers it if it can be answered."""

    def urgency(self, leaf: Leaf, envelope: Envelope) -> OfferClass:
        """Returns the class of an offer."""
        ...


class LeafReader:
    """The messages of all leaves, on their way in."""

    def __init__(
        self,
        clientid: str,
        counters: Counter[str],
        listener: LeafReaderListener,
        *,
        rates: MessageRates,
        clock: Callable[[], float],
    ) -> None:
        """`clientid` is the server's own, whose messages come back from the broker."""
        self._clientid = clientid
        self._counters = counters
        self._listener = listener
        self._rates = rates
        self._offers = OfferQueue(
            listener.handle, self._refuse_offer, clock=clock, cpu_clock=time.thread_time, call_later=_call_later
        )

    def receive(self, leaf: Leaf, payload: bytes, now: float) -> None:
        """Takes one message that arrived on a leaf: has it handled now or in its turn, or refused."""
        if not self._rates.allow(leaf, now):
            self.refuse(leaf, payload, now)
            return
        try:
            envelope = messages.parse(payload)
        except SignalError as error:
            self._listener.on_fault(leaf, error)
            return
        if envelope is None:
            self._counters["ignored"] += 1
        elif envelope.clientid == self._clientid:
            return
        elif isinstance(envelope.body, Offer):
            self._offers.put(leaf, envelope, self._listener.urgency(leaf, envelope))
        else:
            if isinstance(envelope.body, Bye):
                self._offers.drop(leaf)
            self._listener.handle(leaf, envelope)

    def close(self) -> None:
        """Forgets the offers that wait."""
        self._offers.clear()

    def refuse(self, leaf: Leaf, payload: bytes, now: float) -> None:
        """Refuses a message unread. The leaf gets an error once in a while."""
        self._counters["rate_limited"] += 1
        if (wait_s := self._rates.retry_after(leaf, now)) is not None:
            text, session = "too many messages on this leaf", messages.session_of(payload)
            self._listener.on_fault(
                leaf, SignalError(ErrorCode.RATE_LIMITED, text, retry_after=wait_s, session=session)
            )

    def _refuse_offer(self, leaf: Leaf, envelope: Envelope, retry_after: float | None) -> None:
        """Refuses an offer that found no turn; without `retry_after` silently."""
        self._counters["offers_refused"] += 1
        if retry_after is not None:
            text = "the server has too many offers to answer: try again in a moment"
            error = SignalError(ErrorCode.RATE_LIMITED, text, retry_after=retry_after, session=envelope.session)
            self._listener.on_fault(leaf, error)


def _call_later(delay_s: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_s, call)
