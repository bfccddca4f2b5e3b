"""The presence of a server on a base, by what it retains in `bridge/state`.

Owns the question. Never starts a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Final

from sfu.clients.peer import SERVER_WAIT_S, absence
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.intake import Incoming
from sfu.signaling.link import BrokerLink
from sfu.signaling.topics import Topics

_CONNECT_S: Final = 5.0


async def find_absence(url: BrokerUrl, base: str, tls: Tls | None) -> str | None:
    """Returns what to tell if the broker is there and no server; None if the server is there, or no broker.

    Raises TopicError for an invalid base.
    """
    online = asyncio.Event()
    topic = Topics(base).bridge_state

    def on_message(message: Incoming) -> None:
        if message.payload == b"online":
            online.set()

    link = BrokerLink(
        url,
        client_id=f"sfu-look-{secrets.token_hex(16)}",
        subscriptions=(),
        watch=(topic,),
        on_message=on_message,
        tls=tls,
    )
    running = asyncio.create_task(link.run(), name="look for a server")
    try:
        with contextlib.suppress(TimeoutError):
            await link.wait_connected(_CONNECT_S)
            async with asyncio.timeout(SERVER_WAIT_S):
                await online.wait()
        return None if online.is_set() or not link.connected else absence(url, base)
    finally:
        await link.close()
        await asyncio.wait({running})
