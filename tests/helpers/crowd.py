"""`python -m tests.helpers.crowd BROKER ROOM COUNT`: viewers in a process of their own; prints "up" once connected."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.peers import watching


async def watch(broker: str, room: str, count: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            await stack.enter_async_context(watching(BrokerUrl.parse(broker), f"{room}/view/crowd-{number}"))
        sys.stdout.write("up\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(watch(sys.argv[1], sys.argv[2], int(sys.argv[3])))
