"""Signaling of all synthetic peers of a process, over one shared broker connection or one for each peer.

Owns the delivery of each leaf's messages to its peer. Never knows what the messages negotiate.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from sfu.clients.peer import read_boot
from sfu.clients.proof.credential import Credential
from sfu.clients.proof.held import new_words
from sfu.clients.proof.words import Words
from sfu.signaling.bodies import Body
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf, Role, Topics

OnEnvelope = Callable[[Envelope], None]

_CONNECT_S = 10.0
_MAX_BOOTS = 3


class BrokerConnections:
    """The broker connections of all peers of one role."""

    def __init__(
        self,
        url: BrokerUrl,
        base: str,
        role: Role,
        room: str,
        *,
        token: str | None,
        tls: Tls | None = None,
        each: bool,
    ) -> None:
        """Serves leaves of `role` in `room` and the rooms one level below. Raises TopicError for an invalid base.

        `each`: every leaf has its own connection, as real clients have.
        """
        self._url = url
        self._topics = Topics(base)
        self._credential = Credential.of(token)
        self._boots: list[str] = []
        self._booted = asyncio.Event()
        self._tls = tls
        self._each = each
        self._receivers: dict[str, tuple[Words, OnEnvelope]] = {}
        self._links: dict[str, tuple[BrokerLink, asyncio.Task[None]]] = {}
        self._filters = (f"{base}/{room}/{role}/+", f"{base}/{room}/+/{role}/+")

    async def open(self) -> None:
        """Connects the shared connection. Raises TimeoutError if the broker is not reached within 10 s."""
        if not self._each:
            await self._connect("", self._filters)

    async def join(self, leaf: Leaf, session: str, on_envelope: OnEnvelope) -> None:
        """Passes the server's messages to this session to `on_envelope` from now on. Raises TimeoutError as `open`."""
        topic = self._topics.leaf(leaf)
        if self._each:
            await self._connect(topic, (topic,))
        words = new_words(topic, leaf.peer)
        words.take(self._credential)
        words.begin(session)
        self._receivers[topic] = words, on_envelope
        if self._credential.seal is not None:
            async with asyncio.timeout(_CONNECT_S):
                await self._booted.wait()
        for boot in self._boots:
            words.hear_boot(boot)

    def send(self, leaf: Leaf, body: Body, session: str) -> None:
        """Queues a message on `leaf`. Raises KeyError if the leaf has no connection."""
        topic = self._topics.leaf(leaf)
        link, _ = self._links[topic if self._each else ""]
        words, _ = self._receivers[topic]
        for payload in words.write(Envelope(leaf.peer, body, session=session)):
            link.publish(topic, payload)

    async def leave(self, leaf: Leaf) -> None:
        """Undoes `join`, after all queued messages of the leaf are sent."""
        topic = self._topics.leaf(leaf)
        self._receivers.pop(topic, None)
        if self._each:
            await self._disconnect(topic)

    async def close(self) -> None:
        """Sends all queued messages and disconnects."""
        await asyncio.gather(*(self._disconnect(name) for name in list(self._links)))

    async def _connect(self, name: str, filters: tuple[str, ...]) -> None:
        client_id = f"sfu-load-{secrets.token_hex(6)}"
        link = BrokerLink(
            self._url,
            client_id=client_id,
            subscriptions=filters,
            watch=() if self._credential.seal is None else (self._topics.bridge_info,),
            on_message=self._on_message,
            tls=self._tls,
        )
        self._links[name] = link, asyncio.create_task(link.run(), name="load: broker")
        await link.wait_connected(_CONNECT_S)

    async def _disconnect(self, name: str) -> None:
        link, running = self._links.pop(name, (None, None))
        if link is not None and running is not None:
            await link.close()
            await asyncio.wait({running})

    def _on_message(self, incoming: Incoming) -> None:
        if incoming.topic == self._topics.bridge_info:
            self._on_info(incoming.payload)
            return
        words, on_envelope = self._receivers.get(incoming.topic, (None, None))
        if words is None or on_envelope is None or incoming.retained:
            return
        envelope = words.read(incoming.payload)
        if envelope is not None:
            on_envelope(envelope)

    def _on_info(self, payload: bytes) -> None:
        """Notes the boot id of the server, or of somebody who says so; each is tried."""
        boot = read_boot(payload)
        if boot is None:
            return
        self._boots = [*[known for known in self._boots if known != boot][-_MAX_BOOTS:], boot]
        self._booted.set()
        for words, _ in self._receivers.values():
            words.hear_boot(boot)
