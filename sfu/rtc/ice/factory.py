"""The choice of a server's ICE agents: lite where clients can reach the server, full where it is behind a NAT.

Owns the reading of `stun:` and `turn:` URIs (RFC 7064, RFC 7065) and the making of ICE credentials. Never runs agents.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from sfu.rtc.ice.agent import AgentListener, IceAgent, TurnServer
from sfu.rtc.ice.full import FullAgent
from sfu.rtc.ice.lite import LiteAgent
from sfu.rtc.net.port import UdpPort

_URI: Final = re.compile(
    r"(stun|turns?):(?:\[(?P<v6>[0-9a-fA-F:]+)\]|(?P<host>[^:\[\]?]+))(?::(?P<port>\d{1,5}))?(?P<query>\?.*)?"
)


def ice_credentials() -> tuple[str, str]:
    """Returns a fresh (ufrag, pwd) of 48 and 144 random bits, more than RFC 8445 section 5.3 demands.

    The port finds an agent by its ufrag.
    """
    text = base64.b64encode(secrets.token_bytes(24)).decode()  # its letters are ice-chars (RFC 8839 section 5.4)
    return text[:8], text[8:]


def parse_server(uri: str) -> tuple[str, str, int, str]:
    """Returns (scheme, host, port, "udp" or "tcp") of a `stun:`, `turn:` or `turns:` URI.

    Raises ValueError if it is none of them.
    """
    match = _URI.fullmatch(uri)
    query = (match["query"] or "").removeprefix("?transport=") if match else ""
    if match is None or query not in ("", "udp", "tcp"):
        raise ValueError(f"{uri!r} is not stun:host:port or turn:host:port")
    scheme = match[1]
    port = int(match["port"] or (5349 if scheme == "turns" else 3478))
    return scheme, match["v6"] or match["host"], port, query or ("tcp" if scheme == "turns" else "udp")


class AgentFactory:
    """The maker of the agents of all clients, on one port."""

    def __init__(
        self,
        port: UdpPort,
        *,
        announce: Callable[[], Sequence[str]],
        stun: str = "",
        turn: str = "",
        turn_username: str = "",
        turn_password: str = "",
        allow_private: bool = True,
        clock: Callable[[], float],
    ) -> None:
        """Takes a function that returns the addresses to announce, and URIs of a STUN and a TURN server.

        Raises ValueError if a URI is malformed.
        """
        self._port = port
        self._announce = announce
        self._stun = parse_server(stun)[1:3] if stun else None
        self._turn: TurnServer | None = None
        if turn:
            scheme, host, number, transport = parse_server(turn)
            self._turn = TurnServer(host, number, turn_username, turn_password, transport, tls=scheme == "turns")
        self._allow_private = allow_private
        self._clock = clock

    def make(self, listener: AgentListener) -> IceAgent:
        """Returns a full agent if there is a STUN or TURN server to gather from, else a lite one."""
        ufrag, pwd = ice_credentials()
        if self._stun is None and self._turn is None:
            return LiteAgent(self._port, listener, ufrag=ufrag, pwd=pwd, announce=self._announce, clock=self._clock)
        return FullAgent(
            self._port,
            listener,
            ufrag=ufrag,
            pwd=pwd,
            announce=self._announce,
            stun=self._stun,
            turn=self._turn,
            allow_private=self._allow_private,
            clock=self._clock,
        )
