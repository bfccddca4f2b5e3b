"""Signaling of all synthetic peers of a process, over one shared broker connection or one for each peer.

Owns the delivery of each leaf's messages to its peer. Never knows what the messages negotiate.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from sfu.signaling import messages
from sfu.signaling.bodies import Body, SignalError
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf, Role, Topics

OnEnvelope = Callable[[Envelope], None]

_CONNECT_S = 10.0


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
        self._token = token
        self._tls = tls
        self._each = each
        self._receivers: dict[str, OnEnvelope] = {}
        self._links: dict[str, tuple[BrokerLink, asyncio.Task[None]]] = {}
        self._filters = (f"{base}/{room}/{role}/+", f"{base}/{room}/+/{role}/+")

    async def open(self) -> None:
        """Connects the shared connection. Raises TimeoutError if the broker is not reached within 10 s."""
        if not self._each:
            await self._connect("", self._filters)

    async def join(self, leaf: Leaf, on_envelope: OnEnvelope) -> None:
        """Passes the messages on `leaf` to `on_envelope` from now on. Raises TimeoutError as `open` does."""
        topic = self._topics.leaf(leaf)
        if self._each:
            await self._connect(topic, (topic,))
        self._receivers[topic] = on_envelope

    def send(self, leaf: Leaf, body: Body, session: str) -> None:
        """Queues a message on `leaf`. Raises KeyError if the leaf has no connection."""
        topic = self._topics.leaf(leaf)
        link, _ = self._links[topic if self._each else ""]
        link.publish(topic, messages.dump(Envelope(leaf.peer, body, session=session, token=self._token)))

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
            self._url, client_id=client_id, subscriptions=filters, on_message=self._on_message, tls=self._tls
        )
        self._links[name] = link, asyncio.create_task(link.run(), name="load: broker")
        await link.wait_connected(_CONNECT_S)

    async def _disconnect(self, name: str) -> None:
        link, running = self._links.pop(name, (None, None))
        if link is not None and running is not None:
            await link.close()
            await asyncio.wait({running})

    def _on_message(self, incoming: Incoming) -> None:
        on_envelope = self._receivers.get(incoming.topic)
        if on_envelope is None or incoming.retained:
            return
        try:
            envelope = messages.parse(incoming.payload)
        except SignalError:
            return
        if envelope is not None:
            on_envelope(envelope)
