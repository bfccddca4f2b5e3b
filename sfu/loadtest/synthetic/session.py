"""One synthetic peer's one session: offer, answer, connected, over. No second attempt: a load test counts failures.

Owns the order of these and their deadlines; the transport is `Attempt`'s. Knows nothing of media.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from sfu.clients.attempt import Attempt, Host, PeerListener
from sfu.loadtest.synthetic.broker_connections import BrokerConnections
from sfu.rtc.net.port import UdpPort
from sfu.rtc.sdp.description import OfferSection
from sfu.signaling.bodies import Body, Bye, Offer
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf

_OFFER_WAITS = (3.0, 3.0, 6.0)
"""Seconds to wait for the answer to each copy of the offer."""
_CONNECT_S = 15.0
AT_ONCE = 64
"""Peers on their way in at a time: a process that falls behind lets fewer in, not all of them fail."""


class SessionError(Exception):
    """It did not come up, or ended by itself; the text is short enough to be counted by."""


class Session:
    """A peer on its leaf. Run it as a task; cancelling says bye."""

    def __init__(
        self,
        signalling: BrokerConnections,
        leaf: Leaf,
        *,
        host: Host,
        port: UdpPort,
        sections: Sequence[OfferSection],
        listener: PeerListener,
        turn: asyncio.Semaphore,
    ) -> None:
        """`turn` is held from before the offer until connected."""
        self.leaf = leaf
        self.offered_ns = 0
        """Wall time in ns since 1970 of the first copy of the offer."""
        self._signalling = signalling
        self._turn = turn
        self._attempt = Attempt(host, port, sections, listener)

    @property
    def attempt(self) -> Attempt:
        """Its transport."""
        return self._attempt

    async def run(self) -> None:
        """Until cancelled, or SessionError."""
        told = False
        try:
            async with self._turn:
                await self._signalling.join(self.leaf, self._hear)
                await self._offer()
                await self._until_up()
            end = await self._attempt.over
            told = end.told
            raise SessionError(f"ended: {end.reason}")
        except TimeoutError:
            raise SessionError("no connection to the broker") from None
        finally:
            if not told:
                self.say(Bye("done"))
            await self._signalling.leave(self.leaf)
            await self._attempt.close()

    def say(self, body: Body) -> None:
        """Says something on the leaf."""
        with contextlib.suppress(KeyError):  # never got as far as a connection
            self._signalling.say(self.leaf, body, self._attempt.session)

    async def _offer(self) -> None:
        offer = Offer(await self._attempt.offer())
        self.offered_ns = time.time_ns()
        for wait in _OFFER_WAITS:
            self.say(offer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._attempt.settled.wait()
                    return
        raise SessionError("no answer")

    async def _until_up(self) -> None:
        """SessionError when the transport ended or took too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _CONNECT_S
        while not self._attempt.up:
            if self._attempt.over.done():
                raise SessionError(self._attempt.over.result().reason)
            if loop.time() > deadline:
                raise SessionError("not connected in time")
            await asyncio.wait([self._attempt.over], timeout=0.1)

    def _hear(self, envelope: Envelope) -> None:
        if envelope.clientid != self.leaf.peer and envelope.session in (None, self._attempt.session):
            self._attempt.hear(envelope.body)
