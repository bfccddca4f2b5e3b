"""A client of any server that speaks this protocol: on its topic at the broker, with one session at a time.

Owns when to start a session, when to start the next one and when to give up. Never knows what the media is. A lost
broker connection alone never ends a session that is up. With a token that seals, only the server that has its key moves
anything here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import Sequence
from typing import Any

from sfu.clients.attempt import Attempt, AttemptEnd, Host, PeerListener
from sfu.clients.proof.credential import TokenSourceError
from sfu.clients.proof.held import HeldToken, new_words
from sfu.clients.proof.source import TokenSource, token_advice
from sfu.rtc.sdp.description import OfferSection
from sfu.signaling.backoff import full_jitter
from sfu.signaling.bodies import Body, Bye, ErrorCode, ErrorNotice, Select, SignalError
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf, Topics

OFFER_WAITS_S = (3.0, 3.0, 6.0, 8.0)
"""Time to wait for the answer after each copy of an offer: copies are sent at 0, 3, 6 and 12 s."""
_STABLE_S = 10.0
"""A session that lasted this long was a good one: the back-off starts again."""
_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_SHORTEST_BACKOFF_S = 0.1
_PROOF_S = 1.5
"""A session that gets nothing for this long after the boot id has changed is one of a server that is gone."""
SERVER_WAIT_S = 3.0
"""Time after the connection to the broker in which a server that is there is heard."""
_MAX_BOOT = 128
_BROKER_WAIT_S = 10.0
"""Interval at which the listener is informed while there is no broker connection."""


_UNOPENED = (
    "no answer: a server answers only to a sealed token that its own key made, that has not expired, and "
    "that allows this room and this id"
)


class PeerError(Exception):
    """The server refuses this peer permanently. `code` is the protocol's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def absence(url: BrokerUrl, base: str) -> str:
    """Returns what to tell a person who waits for a server that is not heard."""
    return f"no server answers on base {base!r} at {url}: is `sfu serve` running with that base?"


def read_boot(info: bytes) -> str | None:
    """Returns the boot id in the value of `bridge/info`; None if it has none that is readable."""
    try:
        boot = json.loads(info).get("boot")
    except (ValueError, AttributeError, RecursionError):
        return None
    return boot if isinstance(boot, str) and 0 < len(boot) <= _MAX_BOOT and boot.isprintable() else None


class Peer:
    """One client on one leaf topic. Run it as a task; cancelling the task sends bye and closes everything."""

    def __init__(
        self,
        *,
        url: BrokerUrl,
        base: str,
        leaf: Leaf,
        host: Host,
        sections: Sequence[OfferSection],
        listener: PeerListener,
        token: TokenSource | None = None,
        tls: Tls | None = None,
    ) -> None:
        """`sections` are offered in each session until `offer` changes them. Raises TopicError for an invalid base."""
        topics = Topics(base)
        self.sessions = 0
        """Sessions that connected and have ended."""
        self._leaf = leaf
        self._topic = topics.leaf(leaf)
        self._info_topic, self._state_topic = topics.bridge_info, topics.bridge_state
        self._absence = absence(url, base)
        self._host = host
        self._sections = sections
        self._listener = listener
        self._words = new_words(self._topic, leaf.peer)
        self._changed = asyncio.Event()
        self._held = HeldToken(token, leaf, self._words, self._changed.set)
        self._attempt: Attempt | None = None
        self._boot: str | None = None
        self._server_appeared = asyncio.Event()
        self._boot_changed = asyncio.Event()
        self._server_heard = asyncio.Event()
        self._link = BrokerLink(
            url,
            client_id=f"sfu-{leaf.role}-{leaf.peer}-{secrets.token_hex(16)}",
            subscriptions=(self._topic,),
            watch=(self._info_topic, self._state_topic),
            on_message=self._on_message,
            tls=tls,
            fresh=lambda: self._held.login(url),
        )

    @property
    def up(self) -> bool:
        """Returns True if media can flow."""
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
        """Offers these sections from now on. A session that is up is renegotiated: its sections must come first."""
        self._sections = sections
        self._changed.set()

    def select(self, mid: str, peer: str | None, *, room: str | None = None) -> None:
        """Asks the server to show participant `peer` in slot `mid`; None empties the slot."""
        if self._attempt is not None:
            self._send(self._attempt, Select(mid, peer, room))

    async def run(self) -> None:
        """Keeps the peer connected until cancelled. Raises PeerError if the server refuses it permanently."""
        linking = asyncio.create_task(self._link.run(), name=f"{self._leaf} broker")
        keeping = asyncio.create_task(self._keep_up(), name=f"{self._leaf} session")
        doubting = asyncio.create_task(self._doubt_each_boot(), name=f"{self._leaf} boot ids")
        missing = asyncio.create_task(self._report_absence(), name=f"{self._leaf} server")
        renewing = asyncio.create_task(self._held.keep_fresh(), name=f"{self._leaf} token")
        tasks = {linking, keeping, doubting}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (keeping, doubting, missing, renewing):
                task.cancel()
            await asyncio.wait({keeping, doubting, missing, renewing})
            await self._link.close()
            await asyncio.wait({linking})
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _keep_up(self) -> None:
        failures = 0
        while True:
            await self._wait_for_broker()
            self._server_appeared.clear()
            try:
                self._held.refresh()
                await self._wait_for_boot()
                end, lasted = await self._session()
            except TokenSourceError as error:
                end, lasted = AttemptEnd(str(error), code=ErrorCode.UNAUTHORIZED), 0.0
            self._listener.on_down(end.reason)
            if end.code is not None and not self._may_pass(end.code):
                raise PeerError(end.code, self._with_advice(end))
            failures = 0 if lasted >= _STABLE_S else failures + 1
            await self._pause(failures, end.retry_after or 0.0)

    def _may_pass(self, code: str) -> bool:
        """Returns True if a refusal with this code may be over at the next attempt."""
        if code == ErrorCode.UNAUTHORIZED:
            return self._held.renewable
        # Right after a lost session, the server may still keep its producer under our id.
        return bool(self.sessions) and code == ErrorCode.PRODUCER_EXISTS

    async def _wait_for_boot(self) -> None:
        """Waits for the boot id, without which nothing can be sealed; says so if it does not come."""
        if self._words.ready:
            return
        try:
            async with asyncio.timeout(SERVER_WAIT_S):
                await self._server_appeared.wait()
        except TimeoutError:
            self._listener.on_down(
                f"nothing can be sealed yet, since {self._info_topic} is empty: is `sfu serve` running there, and may "
                "this login read that topic?"
            )
            await self._server_appeared.wait()

    def _with_advice(self, end: AttemptEnd) -> str:
        if end.code != ErrorCode.UNAUTHORIZED or "sfu token" in end.reason:
            return end.reason
        return f"{end.reason}. {token_advice(self._leaf)}"

    async def _report_absence(self) -> None:
        """Reports once if no server is heard; the peer goes on and waits for one."""
        while not self._link.connected:
            with contextlib.suppress(TimeoutError):
                await self._link.wait_connected(_BROKER_WAIT_S)
        try:
            async with asyncio.timeout(SERVER_WAIT_S):
                await self._server_heard.wait()
        except TimeoutError:
            self._listener.on_down(self._absence)

    async def _wait_for_broker(self) -> None:
        while not self._link.connected:
            try:
                await self._link.wait_connected(_BROKER_WAIT_S)
            except TimeoutError:
                self._listener.on_down("no broker")

    async def _pause(self, failures: int, least: float) -> None:
        """Waits `least` seconds, then a back-off, which ends early if a server appears, at random for each peer."""
        backoff = full_jitter(failures, _FIRST_BACKOFF_S, _LONGEST_BACKOFF_S, least_s=_SHORTEST_BACKOFF_S)
        await asyncio.sleep(least)
        try:
            async with asyncio.timeout(backoff):
                await self._server_appeared.wait()
                await asyncio.sleep(random.uniform(0, _FIRST_BACKOFF_S))
        except TimeoutError:
            return

    async def _session(self) -> tuple[AttemptEnd, float]:
        """Runs one attempt; returns its end, and the seconds for which it was up."""
        self._changed.clear()
        self._attempt = attempt = await Attempt.open(self._host, self._sections, self._listener)
        self._words.begin(attempt.session)
        ended_by_server = False
        try:
            if not await self._negotiate(attempt):
                attempt.end(AttemptEnd("no answer" if self._words.credential.seal is None else _UNOPENED))
            await self._offer_changes(attempt)
            end = await attempt.over
            ended_by_server = end.by_server
        except SignalError as error:
            raise PeerError(error.code, error.message) from error
        finally:
            if not ended_by_server:
                self._send(attempt, Bye("done"))
            self._attempt = None
            await attempt.close()
        if attempt.up_since is None:
            return end, 0.0
        self.sessions += 1
        return end, asyncio.get_running_loop().time() - attempt.up_since

    async def _offer_changes(self, attempt: Attempt) -> None:
        """Renegotiates on each change of sections until the attempt is over, also after a time without a broker."""
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
                if not await self._negotiate(attempt):
                    self._changed.set()

    async def _negotiate(self, attempt: Attempt) -> bool:
        return await attempt.negotiate(lambda offer: self._send(attempt, offer), OFFER_WAITS_S)

    def _send(self, attempt: Attempt, body: Body) -> None:
        for payload in self._words.write(Envelope(self._leaf.peer, body, session=attempt.session)):
            self._link.publish(self._topic, payload)

    def _on_message(self, incoming: Incoming) -> None:
        if incoming.topic == self._info_topic:
            self._on_info(incoming.payload)
        elif incoming.topic == self._state_topic:
            if incoming.payload == b"online":
                self._server_heard.set()
        elif incoming.topic == self._topic and not incoming.retained and self._attempt is not None:
            self._hear(self._attempt, incoming.payload)

    def _hear(self, attempt: Attempt, payload: bytes) -> None:
        """Handles what somebody wrote on our leaf, if it is our server."""
        hinted, envelope = self._words.hint, self._words.read(payload)
        if self._words.hint != hinted and not attempt.up:
            self._listener.on_down(str(self._words.hint))
        if envelope is None:
            return
        self._server_heard.set()
        if isinstance(envelope.body, ErrorNotice) and envelope.body.code == ErrorCode.REPLAYED:
            if self._words.jump(envelope.body.last) and attempt.unanswered is not None:
                self._send(attempt, attempt.unanswered)
        else:
            attempt.on_message(envelope.body)

    def _on_info(self, payload: bytes) -> None:
        """Notes another boot id: the server has restarted, or somebody says so."""
        boot = read_boot(payload)
        if boot is None or boot == self._boot:
            return
        known, self._boot = self._boot, boot
        self._words.hear_boot(boot)
        self._server_appeared.set()
        if known is not None:
            self._boot_changed.set()

    async def _doubt_each_boot(self) -> None:
        while True:
            await self._boot_changed.wait()
            self._boot_changed.clear()
            if self._attempt is not None:
                await self._doubt(self._attempt)

    async def _doubt(self, attempt: Attempt) -> None:
        """Ends the session if nothing arrives from its server any more: a restarted server does not know it.

        A session from which media arrives stays, since anybody on the broker can write a boot id. An offer that waits
        for its answer is sent again. If nothing arrives, a sealed session asks: only its own server can answer.
        """
        asked_at = asyncio.get_running_loop().time()
        if attempt.unanswered is not None:
            self._send(attempt, attempt.unanswered)
        await asyncio.wait({attempt.over}, timeout=_PROOF_S)
        asked_again = attempt.unanswered is not None and not attempt.up
        if asked_again or attempt.transport.agent.heard_at > asked_at:
            return
        if self._words.credential.seal is not None and attempt.up:
            attempt.renegotiate(self._sections)
            self._changed.set()
            if await attempt.answered_within(_PROOF_S):
                return
        attempt.end(AttemptEnd("the server has restarted"))
