"""A client of any server that speaks the contract: on its leaf at the broker, with one transport, for as long as told.

Owns when to offer, when to offer again and when to give up. Never knows what the media is. Losing the broker alone
never touches a session that is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import Coroutine, Sequence
from typing import Any

from sfu.clients.attempt import Attempt, AttemptEnd, Host, PeerListener
from sfu.rtc.sdp.description import OfferSection
from sfu.signaling import messages
from sfu.signaling.backoff import full_jitter
from sfu.signaling.bodies import Body, Bye, ErrorCode, Offer, Select, SignalError
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.link import BrokerLink, Incoming
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf, Topics

_OFFER_WAITS = (3.0, 3.0, 6.0, 8.0)
"""Seconds to wait for the answer to each copy of an offer: sent at 0, 3, 6 and 12 s."""
_STABLE = 10.0
"""Seconds after which a session was a good one: the back-off starts anew."""
_BACKOFF = (0.5, 30.0)
_BROKER_PATIENCE = 10.0


class PeerError(Exception):
    """The server refuses this peer for good. `code` is the contract's error code, or "replaced"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Peer:
    """One client on one leaf. Run it as a task; cancelling it says bye and closes everything."""

    def __init__(
        self,
        *,
        url: BrokerUrl,
        base: str,
        leaf: Leaf,
        host: Host,
        sections: Sequence[OfferSection],
        listener: PeerListener,
        token: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        """`sections` are offered anew in each session, unless `offer` changes them. TopicError: impossible base."""
        topics = Topics(base)
        self.sessions = 0
        """Sessions that were up and have ended."""
        self._leaf = leaf
        self._topic = topics.leaf(leaf)
        self._info_topic = topics.bridge_info
        self._host = host
        self._sections = sections
        self._listener = listener
        self._token = token
        self._attempt: Attempt | None = None
        self._boot: str | None = None
        self._server_appeared = asyncio.Event()
        self._changed = asyncio.Event()
        self._link = BrokerLink(
            url,
            client_id=f"sfu-{leaf.role}-{leaf.peer}-{secrets.token_hex(4)}",
            subscriptions=(self._topic,),
            watch=(self._info_topic,),
            on_message=self._on_message,
            tls=tls,
        )

    @property
    def up(self) -> bool:
        """Whether media can flow."""
        return self._attempt is not None and self._attempt.up

    def send_rtp(self, packet: bytes) -> None:
        """Sends one RTP packet if the peer is up."""
        if self._attempt is not None and self._attempt.up:
            self._attempt.transport.send_rtp(packet)

    def send_rtcp(self, packet: bytes) -> None:
        """Sends one RTCP compound if the peer is up."""
        if self._attempt is not None and self._attempt.up:
            self._attempt.transport.send_rtcp(packet)

    def offer(self, sections: Sequence[OfferSection]) -> None:
        """Offers these sections from now on, in the session that is up too; there, those it has must stay in front."""
        self._sections = sections
        self._changed.set()

    def select(self, mid: str, peer: str | None, *, room: str | None = None) -> None:
        """Asks for a producer in a slot; None empties it."""
        if self._attempt is not None:
            self._say(self._attempt, Select(mid, peer, room))

    async def run(self) -> None:
        """Keeps the peer connected until cancelled; PeerError when the server refuses it for good."""
        linking = asyncio.create_task(self._link.run(), name=f"{self._leaf} broker")
        keeping = asyncio.create_task(self._keep_up(), name=f"{self._leaf} session")
        try:
            await asyncio.wait({linking, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
            await self._link.close()
            await asyncio.wait({linking})
        for task in (linking, keeping):
            if not task.cancelled():
                task.result()

    async def _keep_up(self) -> None:
        failures = 0
        while True:
            await self._broker()
            self._server_appeared.clear()
            end, lasted = await self._session()
            self._listener.on_down(end.reason)
            # our own lost session may still stand in our way for a while
            if end.code is not None and not (self.sessions and end.code == ErrorCode.PRODUCER_EXISTS):
                raise PeerError(end.code, end.reason)
            failures = 0 if lasted >= _STABLE else failures + 1
            await self._pause(failures, end.retry_after or 0.0)

    async def _broker(self) -> None:
        while not self._link.connected:
            try:
                await self._link.wait_connected(_BROKER_PATIENCE)
            except TimeoutError:
                self._listener.on_down("no broker")

    async def _pause(self, failures: int, least: float) -> None:
        """Full jitter; cut short when a server appears, though not so that all peers come at once."""
        shortest, longest = _BACKOFF
        delay = least + full_jitter(failures, shortest, longest, least_s=0.1)
        try:
            async with asyncio.timeout(delay):
                await self._server_appeared.wait()
                await asyncio.sleep(random.uniform(0, shortest))
        except TimeoutError:
            return

    async def _session(self) -> tuple[AttemptEnd, float]:
        """One attempt from its offer to its end; how it ended, and for how many seconds it was up."""
        self._changed.clear()
        self._attempt = attempt = await Attempt.open(self._host, self._sections, self._listener)
        told = False
        try:
            if not await self._offer(attempt):
                attempt.end(AttemptEnd("no answer"))
            await self._offer_changes(attempt)
            end = await attempt.over
            told = end.told
        except SignalError as error:
            raise PeerError(error.code, error.message) from error
        finally:
            if not told:
                self._say(attempt, Bye("done"))
            self._attempt = None
            await attempt.close()
        if attempt.up_since is None:
            return end, 0.0
        self.sessions += 1
        return end, asyncio.get_running_loop().time() - attempt.up_since

    async def _offer_changes(self, attempt: Attempt) -> None:
        """Renegotiates until the attempt is over; a broker that is away is waited for."""
        while not attempt.over.done():
            changed = asyncio.create_task(self._changed.wait())
            either: set[asyncio.Future[Any]] = {attempt.over, changed}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if self._changed.is_set():
                self._changed.clear()
                attempt.renegotiate(self._sections)
                if not await self._offer(attempt):
                    self._changed.set()

    async def _offer(self, attempt: Attempt) -> bool:
        """Sends the offer, the same one again while no answer comes; whether it was answered, or all is over."""
        offer = Offer(await attempt.offer())
        for wait in _OFFER_WAITS:
            self._say(attempt, offer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await attempt.settled.wait()
                    return True
        return False

    def _say(self, attempt: Attempt, body: Body) -> None:
        envelope = Envelope(self._leaf.peer, body, session=attempt.session, token=self._token)
        self._link.publish(self._topic, messages.dump(envelope))

    def _on_message(self, incoming: Incoming) -> None:
        if incoming.topic == self._info_topic:
            self._on_info(incoming.payload)
        elif incoming.topic == self._topic and not incoming.retained and self._attempt is not None:
            try:
                envelope = messages.parse(incoming.payload)
            except SignalError:
                return
            if envelope is None or envelope.clientid == self._leaf.peer:
                return
            if envelope.session == self._attempt.session or envelope.session is None:
                self._attempt.hear(envelope.body)

    def _on_info(self, payload: bytes) -> None:
        """A server that has started anew knows nothing of our session, however healthy the transport looks."""
        try:
            boot = json.loads(payload).get("boot")
        except (ValueError, AttributeError):
            return
        if not isinstance(boot, str) or boot == self._boot:
            return
        known, self._boot = self._boot, boot
        self._server_appeared.set()
        if known is not None and self._attempt is not None:
            self._attempt.end(AttemptEnd("the server has restarted"))


async def until_first(*coroutines: Coroutine[None, None, object]) -> None:
    """Runs them together until one returns or raises, ends the others, then raises what was raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
