"""A TURN and STUN server of its own for a test: coturn on 127.0.0.1 with long-term credentials; and who needs one."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from sfu.rtc.ice.agent import TurnServer
from sfu.service import Service
from tests.helpers.brokers import free_port
from tests.helpers.programs import need
from tests.helpers.waiting import until


@contextlib.asynccontextmanager
async def coturn(
    directory: Path, transport: str = "udp", login: str = "--lt-cred-mech --user=camera:secret"
) -> AsyncIterator[tuple[TurnServer, subprocess.Popen[bytes]]]:
    """Yields how clients reach it by `transport`, and its process; `directory` takes its files.

    `login`: options that say who may use it; by default the user of the yielded server.
    """
    port = free_port()
    options = (
        f"--listening-ip=127.0.0.1 --relay-ip=127.0.0.1 --listening-port={port} --allow-loopback-peers --no-cli"
        f" --no-tls --no-dtls {login} --realm=house --log-file={directory}/log"
        f" --pidfile={directory}/pid --userdb={directory}/users --new-log-timestamp --simple-log"
    )
    process = subprocess.Popen(
        [need("turnserver"), *options.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory
    )
    try:
        await until(lambda: listens(port))
        yield TurnServer("127.0.0.1", port, "camera", "secret", transport), process
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def turn_settings(turn: TurnServer) -> dict[str, str]:
    """Returns settings for `serving` that make the server a full agent with a relay."""
    return {
        "media__turn": f"turn:{turn.host}:{turn.port}?transport={turn.transport}",
        "media__turn_username": turn.username,
        "media__turn_password": turn.password,
    }


def shut(service: Service) -> None:
    """Lets nothing out of the server's port, as a firewall does, so that no hole can be punched into it either.

    For the way in let the server announce an address where nobody listens.
    """
    service.port.send_from = lambda *_: True  # type: ignore[method-assign]
