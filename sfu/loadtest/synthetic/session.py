"""The one session of a synthetic peer: offer, answer, connected, ended.

Owns the order of these steps and their deadlines; `Attempt` owns the transport. Never tries a second time, since a load
test counts failures, and never knows media.
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

_OFFER_WAITS_S = (3.0, 3.0, 6.0)
"""Time to wait for the answer after each copy of the offer."""
_CONNECT_S = 15.0
_CONNECT_CHECK_S = 0.1
MAX_JOINING = 64
"""Peers that connect at a time: a process that is too slow joins them later, instead of failing all of them."""


class SessionError(Exception):
    """A session did not connect, or ended by itself. Failures are counted by the text, which is short."""


class Session:
    """A peer on its leaf. Run it as a task; cancelling the task sends bye."""

    def __init__(
        self,
        connections: BrokerConnections,
        leaf: Leaf,
        *,
        host: Host,
        port: UdpPort,
        sections: Sequence[OfferSection],
        listener: PeerListener,
        joining: asyncio.Semaphore,
    ) -> None:
        """Holds `joining` from before the offer until connected."""
        self.leaf = leaf
        self.offered_ns = 0
        """Wall time of the first copy of the offer, in nanoseconds since 1970; 0 before."""
        self._connections = connections
        self._joining = joining
        self._attempt = Attempt(host, port, sections, listener)

    @property
    def attempt(self) -> Attempt:
        """Returns the session's attempt, which has the transport."""
        return self._attempt

    async def run(self) -> None:
        """Keeps the session until cancelled. Raises SessionError if it does not connect or ends by itself."""
        ended_by_server = False
        try:
            async with self._joining:
                await self._connections.join(self.leaf, self._attempt.session, self._on_envelope)
                if not await self._attempt.negotiate(self._send_offer, _OFFER_WAITS_S):
                    raise SessionError("no answer")
                await self._until_up()
            end = await self._attempt.over
            ended_by_server = end.by_server
            raise SessionError(f"ended: {end.reason}")
        except TimeoutError:
            raise SessionError("no connection to the broker") from None
        finally:
            if not ended_by_server:
                self.send(Bye("done"))
            await self._connections.leave(self.leaf)
            await self._attempt.close()

    def send(self, body: Body) -> None:
        """Sends a message on the leaf, if it has a broker connection."""
        with contextlib.suppress(KeyError):
            self._connections.send(self.leaf, body, self._attempt.session)

    def _send_offer(self, offer: Offer) -> None:
        self.offered_ns = self.offered_ns or time.time_ns()
        self.send(offer)

    async def _until_up(self) -> None:
        """Waits for the connection. Raises SessionError if the attempt ends or takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _CONNECT_S
        while not self._attempt.up:
            if self._attempt.over.done():
                raise SessionError(self._attempt.over.result().reason)
            if loop.time() > deadline:
                raise SessionError("not connected in time")
            await asyncio.wait([self._attempt.over], timeout=_CONNECT_CHECK_S)

    def _on_envelope(self, envelope: Envelope) -> None:
        self._attempt.on_message(envelope.body)
