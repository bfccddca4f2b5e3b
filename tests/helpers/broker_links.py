"""Broker links with quick back-off, and the messages that they received."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from tests.helpers.waiting import PATIENCE_S

LEAF = "sfu/lobby/view/peer"
SIGNALLING = ("sfu/+/view/+",)


class Box(list[Incoming]):
    """The messages that a link received."""

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self]

    def of(self, topic: str) -> list[bytes]:
        return [message.payload for message in self if message.topic == topic]


@contextlib.asynccontextmanager
async def running(
    url: BrokerUrl, client_id: str = "sfu", *, connect: bool = True, **options: Any
) -> AsyncIterator[tuple[BrokerLink, Box]]:
    """Runs a link with quick back-off; closes it at the end."""
    box = Box()
    defaults: dict[str, Any] = {"subscriptions": SIGNALLING, "backoff": (0.05, 0.2), "on_message": box.append}
    link = BrokerLink(url, client_id=client_id, **(defaults | options))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(link.run())
        try:
            if connect:
                await link.wait_connected(PATIENCE_S)
            yield link, box
        finally:
            await link.close()


def observer(url: BrokerUrl, *topics: str, **options: Any) -> Any:
    """Runs a second client that also gets what is retained."""
    return running(url, "observer", subscriptions=(), watch=topics or ("sfu/#",), **options)
