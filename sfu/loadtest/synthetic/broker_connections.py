"""One broker connection for all synthetic peers of a process, or one each.

Owns which leaf's messages go to whom. Never knows what is being negotiated.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from sfu.signaling import messages
from sfu.signaling.bodies import Body, SignalError
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.link import BrokerLink, Incoming
from sfu.signaling.messages import Envelope
from sfu.signaling.topics import Leaf, Role, Topics

Hear = Callable[[Envelope], None]

_CONNECT_S = 10.0


class BrokerConnections:
    """What peers of one role say and hear; `each` gives every leaf a connection of its own, as real clients have."""

    def __init__(self, url: BrokerUrl, base: str, role: Role, room: str, *, token: str | None, each: bool) -> None:
        """For leaves of `role` in `room` and the rooms just below. TopicError for an impossible base."""
        self._url = url
        self._topics = Topics(base)
        self._token = token
        self._each = each
        self._hearers: dict[str, Hear] = {}
        self._links: dict[str, tuple[BrokerLink, asyncio.Task[None]]] = {}
        self._filters = (f"{base}/{room}/{role}/+", f"{base}/{room}/+/{role}/+")

    async def open(self) -> None:
        """Connects, unless each leaf does so itself. TimeoutError when there is no broker within 10 s."""
        if not self._each:
            await self._connect("", self._filters)

    async def join(self, leaf: Leaf, hear: Hear) -> None:
        """From now on `hear` gets what others say on `leaf`. TimeoutError as in `open`."""
        topic = self._topics.leaf(leaf)
        if self._each:
            await self._connect(topic, (topic,))
        self._hearers[topic] = hear

    def say(self, leaf: Leaf, body: Body, session: str) -> None:
        """Queues a message."""
        topic = self._topics.leaf(leaf)
        link, _ = self._links[topic if self._each else ""]
        link.publish(topic, messages.dump(Envelope(leaf.peer, body, session=session, token=self._token)))

    async def leave(self, leaf: Leaf) -> None:
        """Undoes `join`, after what was said on the leaf has been sent."""
        topic = self._topics.leaf(leaf)
        self._hearers.pop(topic, None)
        if self._each:
            await self._disconnect(topic)

    async def close(self) -> None:
        """Sends what is queued and disconnects."""
        await asyncio.gather(*(self._disconnect(name) for name in list(self._links)))

    async def _connect(self, name: str, filters: tuple[str, ...]) -> None:
        client_id = f"sfu-load-{secrets.token_hex(6)}"
        link = BrokerLink(self._url, client_id=client_id, subscriptions=filters, on_message=self._on_message)
        self._links[name] = link, asyncio.create_task(link.run(), name="load: broker")
        await link.wait_connected(_CONNECT_S)

    async def _disconnect(self, name: str) -> None:
        link, running = self._links.pop(name, (None, None))
        if link is not None and running is not None:
            await link.close()
            await asyncio.wait({running})

    def _on_message(self, incoming: Incoming) -> None:
        hear = self._hearers.get(incoming.topic)
        if hear is None or incoming.retained:
            return
        try:
            envelope = messages.parse(incoming.payload)
        except SignalError:
            return
        if envelope is not None:
            hear(envelope)
