"""An ICE agent as its transport sees it.

Owns the agent's life: which local credentials are valid, when its peer was last heard, when it ends by itself. How a
pair is selected is decided in `lite` and `full`.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from sfu.rtc.ice.candidates import host_candidates
from sfu.rtc.net.paths import Path
from sfu.rtc.net.port import MediaHandler, UdpPort
from sfu.rtc.net.stun import Address


@dataclass(frozen=True, slots=True)
class AgentTimeouts:
    """Seconds without a sign of the peer after which an agent ends itself."""

    half_open: float = 15.0
    """From the remote parameters to the first selected pair, and to the end of the DTLS handshake. A libwebrtc that
    gives up an old path after 6 s may send its next ClientHello after 12.8 s (RFC 6347 section 4.2.4.1, 50 ms first).
    """
    silence: float = 14.0
    """Without an authenticated check and without media: two checks in a row have failed (RFC 7675 asks for one each 6 s
    at least, and ends consent after 30 s), and nobody may be sent media for more than 15 s that does not arrive.
    """


MAX_ADDRESSES: Final = 16
"""Validated remote addresses of one peer; beyond them the one that was validated first is forgotten."""
DEFAULT_LIMITS: Final = AgentTimeouts()


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A relay and the long-term credentials for it (RFC 8656)."""

    host: str
    port: int
    username: str
    password: str
    transport: str = "udp"
    tls: bool = False


class AgentListener(MediaHandler, Protocol):
    """The transport that owns an agent. An agent calls nothing of it after `on_ice_closed`, or after `close`."""

    def on_ice_connected(self) -> None:
        """Notes that the first pair is selected."""

    def on_path(self) -> None:
        """Notes that `path` has changed: it is the first one, another one or None."""

    def on_moved(self) -> None:
        """Notes that the peer is reached by another path than before."""

    def on_datagram(self, data: bytes) -> None:
        """Takes one datagram from a validated address: DTLS, SRTCP, or SRTP that came alone or by a relay."""

    def on_ice_closed(self, reason: str) -> None:
        """Notes that the agent has ended by itself."""


class IceAgent(ABC):
    """One ICE agent with one component on the shared port.

    Life: construct, `await gather()`, hand out `candidates()`, `start()` with the peer's parameters. For an ICE
    restart the same again, with `restart()` in place of construction; the selected pair stays until a new one is.
    """

    lite: ClassVar[bool]

    def __init__(
        self,
        port: UdpPort,
        listener: AgentListener,
        *,
        ufrag: str,
        pwd: str,
        clock: Callable[[], float] = time.monotonic,
        limits: AgentTimeouts,
    ) -> None:
        self.media: MediaHandler = listener
        self.ufrag = ufrag
        self.pwd = pwd
        self.limits = limits
        self.path: Path | None = None
        """The selected path; None before there is one and while it leads through a TURN server."""
        self.connected = False
        self.heard_at = 0.0
        """`clock()` of the last authenticated check, or datagram from a validated address."""
        self.drops: Counter[str] = Counter()
        self._port = port
        self._listener = listener
        self._clock = clock
        self._started_at: float | None = None
        self._over = False
        self._addresses: dict[Address, None] = {}  # in the order of their validation
        port.register(ufrag, self)

    @abstractmethod
    async def gather(self) -> None:
        """Finds the local candidates."""

    @abstractmethod
    def candidates(self) -> tuple[str, ...]:
        """Returns the local candidates as in SDP after `a=candidate:` (RFC 8839 section 5.1)."""

    @abstractmethod
    def start(self, *, ufrag: str, pwd: str, lite: bool) -> None:
        """Takes the peer's parameters, at first and again for an ICE restart."""

    @abstractmethod
    def restart(self, *, ufrag: str, pwd: str) -> None:
        """Adds new local credentials, for the answer to an ICE restart (RFC 8839 section 4.4.1.1.1)."""

    @abstractmethod
    def add_candidate(self, candidate: str | None) -> None:
        """Takes a remote candidate, with or without `candidate:` in front; None ends them. Never raises."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Sends by the selected pair, relayed or not; counts a drop when there is none."""

    @abstractmethod
    async def close(self) -> None:
        """Leaves the port and releases everything. `on_ice_closed` is not called."""

    @abstractmethod
    def on_request(self, data: bytes, sock: socket.socket, address: Address) -> None:
        """Handles a STUN request for one of our ufrags (called by the port)."""

    def on_data(self, data: bytes) -> None:
        """Takes a datagram from a validated address (called by the port)."""
        self.heard_at = self._clock()
        if not self._over:
            self._listener.on_datagram(data)

    def on_tick(self) -> None:
        """Ends the agent if its peer did not connect in time or is silent (called by the port)."""
        now = self._clock()
        if self._started_at is None:
            return
        if not self.connected:
            if now - self._started_at >= self.limits.half_open:
                self._end("timeout")
        elif now - self.heard_at >= self.limits.silence:
            self._end("silent")

    def _host_candidates(self, announce: Sequence[str]) -> tuple[str, ...]:
        return host_candidates([host for host in announce if self._port.serves(host)], self._port.port)

    def on_heard(self) -> None:
        """Notes that the peer has just been heard."""
        self.heard_at = self._clock()

    def on_secured(self) -> None:  # noqa: B027  # a full agent has checked its path before
        """Notes that the DTLS handshake has passed by the selected path: its other end has read what was sent there."""

    def prove(self, address: Address) -> bool:
        """Accepts datagrams from `address`, after an authenticated check; False if the address is another agent's."""
        self.on_heard()
        if self._over or not self._port.validate(address, self):
            return False
        self._addresses.pop(address, None)
        self._addresses[address] = None
        if len(self._addresses) > MAX_ADDRESSES:
            selected = self.path.address if self.path else None
            oldest = next(known for known in self._addresses if known != selected)
            del self._addresses[oldest]
            self._port.invalidate(oldest, self)
        return True

    def _begin(self) -> None:
        if self._started_at is None:
            self._started_at = self.heard_at = self._clock()

    def _selected(self, path: Path | None) -> None:
        moved = path != self.path
        self.path = path
        self._listener.on_path()
        if not self.connected:
            self.connected = True
            self._listener.on_ice_connected()
        elif moved:
            self._listener.on_moved()

    def _end(self, reason: str) -> None:
        """Leaves the port at once, so that nothing more is heard, then tells the owner, once."""
        if not self._over:
            self._detach()
            self._listener.on_ice_closed(reason)

    def _detach(self) -> None:
        """Leaves the port: nothing is heard any more."""
        self._over = True
        self.connected = False
        self.path = None
        self._listener.on_path()
        for address in self._addresses:
            self._port.invalidate(address, self)
        self._addresses.clear()
