"""Logins at TURN servers, as pages get them, at a real coturn that shares the secret."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import pytest
from aioice import stun
from aioice.turn import create_turn_endpoint

from sfu.access.turn import LOGIN_S, servers_for
from tests.helpers.coturn import coturn
from tests.helpers.waiting import PATIENCE_S

SHARED = "--use-auth-secret --static-auth-secret=north"


@pytest.mark.parametrize(
    ("secret", "made_ago_s", "taken"), [("north", 0.0, True), ("north", LOGIN_S + 60, False), ("south", 0.0, False)]
)
async def test_coturn_takes_a_login_of_its_secret_until_it_ends(
    tmp_path: Path, secret: str, made_ago_s: float, taken: bool
) -> None:
    async with coturn(tmp_path, login=SHARED) as (server, _):
        url = f"turn:{server.host}:{server.port}"
        [entry] = cast("list[dict[str, Any]]", servers_for((url,), secret, "ann", time.time() - made_ago_s))
        async with asyncio.timeout(PATIENCE_S):
            allocated = await _allocates((server.host, server.port), entry)
    assert allocated is taken


async def _allocates(address: tuple[str, int], entry: dict[str, Any]) -> bool:
    try:
        transport, _ = await create_turn_endpoint(
            asyncio.DatagramProtocol, server_addr=address, username=entry["username"], password=entry["credential"]
        )
    except stun.TransactionFailed:
        return False
    transport.close()
    return True
