"""The one UDP port that all transports share (RFC 7983 demultiplexing).

Owns the sockets and the two tables that say whose a datagram is: STUN requests go by the ufrag they address, all else
only by a source address that an authenticated check has validated. Never decides what a check means, never looks
into DTLS or SRTP, and never raises for anything that came from the network: it counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

import ifaddr

from sfu.rtc.net import stun
from sfu.rtc.net.paths import Path
from sfu.rtc.net.receive import BATCH_MESSAGES, Datagrams, Ingress
from sfu.rtc.net.stun import Address
from sfu.rtc.net.timers import Ticks

BURST: Final = 128
"""Messages read from one socket before other work of the loop gets its turn."""
ANY: Final = ("0.0.0.0", "::")  # noqa: S104  # media comes from anywhere; what counts is proven by ICE and DTLS
_BUFFER_BYTES: Final = 4 * 1024 * 1024
_FORCE: Final = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}  # SO_RCVBUFFORCE and SO_SNDBUFFORCE of Linux
_MAX_EXPECTED: Final = 4096
_TAKEOVER_S: Final = 8.0
_PORT_ATTEMPTS: Final = 16
_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class Listener(Protocol):
    """What the port hands datagrams to: an ICE agent."""

    heard_at: float

    def on_request(self, data: bytes, sock: socket.socket, address: Address) -> None:
        """A STUN request that addresses the listener's ufrag. Nothing in it is proven yet."""

    def on_data(self, data: bytes) -> None:
        """A non-empty datagram, not STUN, from an address that the listener validated."""

    def on_media(self, datagrams: Datagrams) -> None:
        """SRTP packets from an address that the listener validated, good until this returns."""

    def on_tick(self) -> None:
        """About once a second: the time to notice what did not happen."""


ResponseHandler = Callable[[bytes, Address], None]


def host_addresses() -> tuple[str, ...]:
    """This machine's addresses to put in candidates, IPv4 first, loopback last; no IPv6 ones of link scope."""
    found = {
        ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str) or ip.ip[2] == 0
    }
    addresses = [ipaddress.ip_address(host) for host in found]
    usable = [address for address in addresses if not address.is_link_local and not address.is_unspecified]
    return tuple(str(a) for a in sorted(usable, key=lambda a: (a.is_loopback, a.version, int(a))))


class UdpPort:
    """One port number on the given addresses of both families, and who hears what arrives there."""

    def __init__(self, sockets: Sequence[socket.socket], *, sweep_interval: float = 1.0) -> None:
        self.sockets: tuple[socket.socket, ...] = tuple(sockets)
        self.port: int = sockets[0].getsockname()[1]
        self.drops: Counter[str] = Counter()
        self.received = 0
        """Datagrams read, dropped ones included."""
        self._listeners: dict[str, Listener] = {}
        self._validated: dict[Address, Listener] = {}
        self._expected: dict[bytes, ResponseHandler] = {}
        self._reading = False
        self._after: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self.ticks = Ticks(self._loop)
        """Called when something came, for one: what wants to be done some times a second is cheapest then."""
        self.ticks.every(sweep_interval, self._sweep)
        self._closed = False
        for sock in self.sockets:
            self._loop.add_reader(sock.fileno(), self._read, sock, Ingress(sock))

    @classmethod
    async def open(cls, *, bind: Sequence[str] = ANY, port: int = 0, sweep_interval: float = 1.0) -> Self:
        """Binds every address of `bind` to one port number, a free one for 0.

        IPv6 addresses are left out where the machine has no IPv6. OSError if another address or the port cannot be had.
        """
        return cls(_bind_all(bind, port), sweep_interval=sweep_interval)

    def serves(self, host: str) -> bool:
        """Whether there is a socket of `host`'s address family."""
        return any(sock.family == _family(host) for sock in self.sockets)

    def path(self, address: Address) -> Path:
        """The way to a remote address; ValueError when no socket has its family."""
        for sock in self.sockets:
            if sock.family == _family(address[0]):
                return Path(sock, address)
        raise ValueError(f"no socket for {address[0]}")

    def send(self, data: bytes, path: Path) -> bool:
        """Sends at once; False, and counted, when the kernel does not take it."""
        return self.send_from(path.socket, data, path.address)

    def send_from(self, sock: socket.socket, data: bytes, address: Address) -> bool:
        """As `send`, from the socket on which something came: its answer must leave there."""
        try:
            sock.sendto(data, address)
        except OSError:
            self.drops["send_error"] += 1
            return False
        return True

    def register(self, ufrag: str, listener: Listener) -> None:
        """Requests that address `ufrag` go to `listener` from now on. ValueError if the ufrag is taken."""
        if self._listeners.setdefault(ufrag, listener) is not listener:
            raise ValueError(f"ufrag {ufrag} is taken")

    def unregister(self, ufrag: str) -> None:
        """Requests for `ufrag` are nobody's."""
        self._listeners.pop(ufrag, None)

    def validate(self, address: Address, listener: Listener) -> bool:
        """Datagrams from `address` go to `listener`, which has just heard an authenticated check from there.

        False while the address is another's who heard from it lately: a participant who can forge source addresses
        must not be able to take over somebody else's media.
        """
        owner = self._validated.get(address)
        if owner is not None and owner is not listener and listener.heard_at - owner.heard_at < _TAKEOVER_S:
            self.drops["address_taken"] += 1
            return False
        self._validated[address] = listener
        return True

    def invalidate(self, address: Address, listener: Listener) -> None:
        """Undoes `validate`, unless the address is another listener's by now."""
        if self._validated.get(address) is listener:
            del self._validated[address]

    def expect(self, transaction_id: bytes, handler: ResponseHandler) -> bool:
        """The response to a STUN request we send goes to `handler`; False when too many are awaited already."""
        if len(self._expected) >= _MAX_EXPECTED:
            self.drops["expected_full"] += 1
            return False
        self._expected[transaction_id] = handler
        return True

    def forget(self, transaction_id: bytes) -> None:
        """The response is no longer awaited."""
        self._expected.pop(transaction_id, None)

    def after_read(self, callback: Callable[[], None]) -> None:
        """Runs `callback` once all that this read brings is handed out; outside of a read, later in the loop's turn.

        Not by the loop in both cases: one turn more is dear in a process that sleeps most of the time.
        """
        if self._reading:
            self._after.append(callback)
        else:
            self._loop.call_soon(callback)

    def close(self) -> None:
        """Releases the port. Its users are closed before it."""
        self._closed = True
        self.ticks.close()
        for sock in self.sockets:
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock.fileno())
                sock.close()

    def _read(self, sock: socket.socket, ingress: Ingress) -> None:
        self._reading = True
        try:
            self._hand_out(sock, ingress)
        finally:
            self._reading = False
            after, self._after = self._after, []
            for callback in after:
                callback()
            self.ticks.look()

    def _hand_out(self, sock: socket.socket, ingress: Ingress) -> None:
        validated = self._validated
        for _ in range(BURST // BATCH_MESSAGES):
            for datagrams in ingress.read():
                self.received += len(datagrams.places)
                listener = validated.get(datagrams.sender)
                if listener is not None and datagrams.is_media():
                    listener.on_media(datagrams)
                else:
                    self._sort_out(datagrams.copies(), sock, datagrams.sender)
                if self._closed:  # by a handler
                    return
            if ingress.drained:
                return

    def _sort_out(self, datagrams: Sequence[bytes], sock: socket.socket, address: Address) -> None:
        for data in datagrams:
            if not data:
                self.drops["empty"] += 1
            elif data[0] < 4:
                self._on_stun(data, sock, address)
            elif (listener := self._validated.get(address)) is not None:
                listener.on_data(data)
            else:
                self.drops["unvalidated"] += 1

    def _on_stun(self, data: bytes, sock: socket.socket, address: Address) -> None:
        if not stun.is_message(data):
            self.drops["junk"] += 1
            return
        match stun.message_class(data):
            case stun.Class.REQUEST:
                listener = self._listeners.get(stun.addressed_ufrag(data) or "")
                if listener is None:
                    self.drops["unknown_ufrag"] += 1
                else:
                    listener.on_request(data, sock, address)
            case stun.Class.RESPONSE | stun.Class.ERROR:
                handler = self._expected.get(stun.transaction_id(data))
                if handler is None:
                    self.drops["unexpected_response"] += 1
                else:
                    handler(data, address)
            case _:  # an indication: libnice keeps its mapping open with them, and nothing is owed for one
                self.drops["indication"] += 1

    def _sweep(self) -> None:
        for listener in set(self._listeners.values()):
            listener.on_tick()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bind_all(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Sockets of one port number. A number free in one family may be taken in the other: then the next is tried."""
    for attempt in range(_PORT_ATTEMPTS):
        sockets: list[socket.socket] = []
        try:
            for host in hosts:
                number = sockets[0].getsockname()[1] if sockets else port
                sockets += _bind(host, number)
        except OSError as error:
            for sock in sockets:
                sock.close()
            if port == 0 and sockets and error.errno == errno.EADDRINUSE and attempt < _PORT_ATTEMPTS - 1:
                continue
            raise
        if sockets:
            return sockets
    raise OSError(errno.EADDRNOTAVAIL, f"none of {', '.join(hosts)} can be bound on this machine")


def _bind(host: str, port: int) -> list[socket.socket]:
    """The bound socket, or none for an IPv6 address on a machine without IPv6."""
    family = _family(host)
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _enlarge_buffers(sock)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError as error:
        if sock is not None:
            sock.close()
        if family == socket.AF_INET6 and error.errno in _NO_IPV6:
            return []
        raise
    return [sock]


def _enlarge_buffers(sock: socket.socket) -> None:
    """Room for what comes while Python is busy. Beyond the system's limit (`net.core.rmem_max`) if we may go there."""
    for option, force in _FORCE.items():
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        if sys.platform == "linux":
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER_BYTES)
