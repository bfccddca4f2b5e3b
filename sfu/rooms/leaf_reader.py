"""From the bytes on a leaf to its handling: how many messages a leaf may send, and which offer is next.

Owns the limits that hold before a message is handled. Never handles one itself, and never raises.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from sfu.access.caller import Caller
from sfu.rooms.admission import MessageRates
from sfu.rooms.gate import Gate, Heard
from sfu.rooms.offers import OfferClass, OfferQueue
from sfu.signaling import messages
from sfu.signaling.bodies import Bye, ErrorCode, Offer, SignalError
from sfu.signaling.topics import Leaf


class LeafReaderListener(Protocol):
    """The server of rooms, as messages reach it."""

    def handle(self, leaf: Leaf, heard: Heard) -> None:
        """Handles one message. Never raises."""

    def on_fault(self, error: SignalError, caller: Caller) -> None:
        """Counts a fault of a peer, and answers it if it can be answered."""

    def urgency(self, leaf: Leaf, heard: Heard) -> OfferClass:
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
        gate: Gate,
        rates: MessageRates,
        clock: Callable[[], float],
    ) -> None:
        """`clientid` is the server's own, whose messages come back from the broker."""
        self._clientid = clientid
        self._counters = counters
        self._listener = listener
        self._gate = gate
        self._rates = rates
        self._offers = OfferQueue[Heard](
            listener.handle, self._refuse_offer, clock=clock, cpu_clock=time.thread_time, call_later=_call_later
        )

    def receive(self, leaf: Leaf, payload: bytes, caller: Caller | None, now: float) -> None:
        """Takes one message that arrived on a leaf: has it handled now or in its turn, or refused.

        `caller`: the sender at the door; None for the broker.
        """
        if not self._rates.allow(leaf, now):
            self.refuse(leaf, payload, caller, now)
            return
        heard: Heard | None = None
        try:
            heard = self._gate.read(leaf, payload, caller)
            if heard is not None and isinstance(heard.envelope.body, Offer) and not self._is_own(heard):
                heard = self._gate.judge(leaf, heard)  # before it takes a turn of others
        except SignalError as error:
            sender = heard.caller if heard is not None else caller
            self._listener.on_fault(error, sender or self._gate.at_broker(leaf))
            return
        if heard is None:
            self._counters["ignored"] += 1
        elif not self._is_own(heard):
            self._pass_on(leaf, heard)

    def _is_own(self, heard: Heard) -> bool:
        return heard.envelope.clientid == self._clientid

    def _pass_on(self, leaf: Leaf, heard: Heard) -> None:
        if isinstance(heard.envelope.body, Offer):
            self._offers.put(leaf, heard, self._listener.urgency(leaf, heard))
            return
        if isinstance(heard.envelope.body, Bye) and self._gate.lets_in(leaf, heard):
            self._offers.drop(leaf)
        self._listener.handle(leaf, heard)

    def close(self) -> None:
        """Forgets the offers that wait."""
        self._offers.clear()

    def refuse(self, leaf: Leaf, payload: bytes, caller: Caller | None, now: float) -> None:
        """Refuses a message unread. The leaf gets an error once in a while."""
        self._counters["rate_limited"] += 1
        if (wait_s := self._rates.retry_after(leaf, now)) is not None:
            text, session = "too many messages on this leaf", messages.session_of(payload)
            error = SignalError(ErrorCode.RATE_LIMITED, text, retry_after=wait_s, session=session)
            self._listener.on_fault(error, caller or self._gate.at_broker(leaf))

    def _refuse_offer(self, _leaf: Leaf, heard: Heard, retry_after: float | None) -> None:
        """Refuses an offer that found no turn; without `retry_after` silently."""
        self._counters["offers_refused"] += 1
        if retry_after is not None:
            text = "the server has too many offers to answer: try again in a moment"
            session = heard.envelope.session
            error = SignalError(ErrorCode.RATE_LIMITED, text, retry_after=retry_after, session=session)
            self._listener.on_fault(error, heard.caller)


def _call_later(delay_s: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_s, call)
