"""What every ICE agent here is to its transport.

Owns the agent's life: which local credentials count, when it was last heard, when it ends by itself. How a pair gets
selected is `lite`'s and `full`'s business.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from sfu.rtc.ice.candidates import host_candidates
from sfu.rtc.net.paths import Path
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.receive import Datagrams
from sfu.rtc.net.stun import Address


@dataclass(frozen=True, slots=True)
class AgentTimeouts:
    """Seconds after which an agent that hears nothing ends itself."""

    half_open: float = 15.0
    """From the remote parameters to the first selected pair, and to the end of the DTLS handshake. A libwebrtc that
    gives up an old way after 6 s may send its next ClientHello after 12.8 s (RFC 6347 section 4.2.4.1, 50 ms at first).
    """
    silence: float = 14.0
    """Without an authenticated check and without media: two checks in a row have failed (RFC 7675 asks for one each 6 s
    at least, and gives consent up after 30 s), and nobody is to be sent media in vain for more than 15 s.
    """


MAX_ADDRESSES: Final = 16
"""Proven remote addresses of one peer; beyond them the one proven longest ago is forgotten."""
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


def _ignore(_: Any = None) -> None:
    """What a callback is until somebody sets it."""


class IceAgent(ABC):
    """One ICE agent with one component on the shared port.

    Life: construct, `await gather()`, hand out `candidates()`, `start()` with the peer's parameters. For an ICE
    restart the same again, with `restart()` in place of construction; the selected pair stays until a new one is.
    """

    lite: ClassVar[bool]

    def __init__(
        self, port: UdpPort, *, ufrag: str, pwd: str, clock: Callable[[], float] = time.monotonic, limits: AgentTimeouts
    ) -> None:
        self.ufrag = ufrag
        self.pwd = pwd
        self.limits = limits
        self.path: Path | None = None
        """The selected way out, None until there is one or while it leads through a TURN server."""
        self.connected = False
        self.heard_at = 0.0
        """`clock()` of the last authenticated check or datagram from a proven address."""
        self.drops: Counter[str] = Counter()
        self.on_connected: Callable[[], None] = _ignore
        self.on_path: Callable[[], None] = _ignore
        """`path` is another one, the first one or none."""
        self.on_moved: Callable[[], None] = _ignore
        """The peer is reached by another path than before."""
        self.on_datagram: Callable[[bytes], None] = _ignore
        self.on_srtp: Callable[[Datagrams], None] = _ignore
        """SRTP packets, good until this returns."""
        self.on_closed: Callable[[str], None] = _ignore
        self._port = port
        self._clock = clock
        self._started_at: float | None = None
        self._over = False
        self._addresses: dict[Address, None] = {}  # in the order of their proof
        port.register(ufrag, self)

    @abstractmethod
    async def gather(self) -> None:
        """Finds the local candidates."""

    @abstractmethod
    def candidates(self) -> tuple[str, ...]:
        """The local candidates as in SDP behind `a=candidate:` (RFC 8839 section 5.1)."""

    @abstractmethod
    def start(self, *, ufrag: str, pwd: str, lite: bool) -> None:
        """The peer's parameters, which may come again with others (ICE restart)."""

    @abstractmethod
    def restart(self, *, ufrag: str, pwd: str) -> None:
        """New local credentials beside those in use, for the answer to an ICE restart (RFC 8839 section 4.4.1.1.1)."""

    @abstractmethod
    def add_candidate(self, candidate: str | None) -> None:
        """A remote candidate, with or without `candidate:` in front; None for their end. Never raises."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Sends by the selected pair, relayed or not; counted and gone when there is none."""

    @abstractmethod
    async def close(self) -> None:
        """Leaves the port and releases everything. `on_closed` is not called."""

    @abstractmethod
    def on_request(self, data: bytes, sock: socket.socket, address: Address) -> None:
        """A STUN request for one of our ufrags (called by the port)."""

    def on_data(self, data: bytes) -> None:
        """A datagram from a proven address (called by the port)."""
        self.heard_at = self._clock()
        self.on_datagram(data)

    def on_media(self, datagrams: Datagrams) -> None:
        """SRTP packets from a proven address (called by the port)."""
        self.heard_at = self._clock()
        self.on_srtp(datagrams)

    def on_tick(self) -> None:
        """Ends the agent when its peer did not connect in time or fell silent (called by the port)."""
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
        """The peer has just proven that it is there."""
        self.heard_at = self._clock()

    def prove(self, address: Address) -> bool:
        """After an authenticated check from `address`: lets its datagrams in. False when it is another agent's."""
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
        self.on_path()
        if not self.connected:
            self.connected = True
            self.on_connected()
        elif moved:
            self.on_moved()

    def _end(self, reason: str) -> None:
        """It happened: off the port at once, so that nothing more is heard, then the owner is told, once."""
        if not self._over:
            self._detach()
            self.on_closed(reason)

    def _detach(self) -> None:
        """Off the port: nothing is heard any more."""
        self._over = True
        self.connected = False
        self.path = None
        self.on_path()
        self.on_datagram = self.on_srtp = _ignore
        for address in self._addresses:
            self._port.invalidate(address, self)
        self._addresses.clear()
