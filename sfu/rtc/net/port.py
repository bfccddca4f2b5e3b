"""The one UDP port that all transports share (RFC 7983 demultiplexing).

Owns the sockets and the two tables that tell to which agent a datagram belongs: STUN requests by the ufrag that they
address, everything else by a source address that an authenticated check has validated. Never decides what a check
means, never reads DTLS or SRTP, and never raises for anything that came from the network: it counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

from sfu.rtc.net import stun
from sfu.rtc.net.paths import Path
from sfu.rtc.net.receive import BATCH_MESSAGES, Datagrams, Ingress
from sfu.rtc.net.stun import Address
from sfu.rtc.net.timers import Ticks

BURST: Final = 128
"""Messages that are read from one socket before the loop does other work."""
ANY: Final = ("0.0.0.0", "::")  # noqa: S104  # media comes from anywhere; ICE and DTLS authenticate it
_BUFFER_BYTES: Final = 4 * 1024 * 1024
_FORCE: Final = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}  # SO_RCVBUFFORCE and SO_SNDBUFFORCE of Linux
_MAX_EXPECTED: Final = 4096
_TAKEOVER_S: Final = 8.0
_PORT_ATTEMPTS: Final = 16
_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class MediaHandler(Protocol):
    """The transport behind an agent: it gets SRTP packets straight from the port."""

    def on_srtp(self, datagrams: Datagrams, now: float) -> None:
        """Takes SRTP packets read at `now` (seconds of the loop's clock), valid until this returns."""


class Listener(Protocol):
    """The ICE agent to which the port gives an address's datagrams."""

    heard_at: float
    """Time of the last datagram from a validated address, in seconds of the loop's clock; the port sets it, too."""
    media: MediaHandler

    def on_request(self, data: bytes, sock: socket.socket, address: Address) -> None:
        """Handles a STUN request that addresses the listener's ufrag. Nothing in it is authenticated yet."""

    def on_data(self, data: bytes) -> None:
        """Takes a non-empty datagram, not STUN, from an address that the listener validated."""

    def on_tick(self) -> None:
        """Checks time-outs, about once a second."""


ResponseHandler = Callable[[bytes, Address], None]


class UdpPort:
    """One port number on addresses of both families, and the listeners for the datagrams that arrive there."""

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
        """Periodic work, done right after a read where possible: that saves wake-ups."""
        self.ticks.every(sweep_interval, self._sweep)
        self._closed = False
        for sock in self.sockets:
            self._loop.add_reader(sock.fileno(), self._read, sock, Ingress(sock))

    @classmethod
    async def open(cls, *, bind: Sequence[str] = ANY, port: int = 0, sweep_interval: float = 1.0) -> Self:
        """Binds every address of `bind` to one port number, to a free one for 0.

        Leaves out IPv6 addresses where the machine has no IPv6. Raises OSError if another address cannot be bound.
        """
        return cls(_bind_all(bind, port), sweep_interval=sweep_interval)

    def serves(self, host: str) -> bool:
        """True if there is a socket of the address family of `host`."""
        return any(sock.family == _family(host) for sock in self.sockets)

    def path(self, address: Address) -> Path:
        """Returns the path to a remote address. Raises ValueError if no socket has its family."""
        for sock in self.sockets:
            if sock.family == _family(address[0]):
                return Path(sock, address)
        raise ValueError(f"no socket for {address[0]}")

    def send(self, data: bytes, path: Path) -> bool:
        """Sends at once; counts a drop and returns False if the kernel does not take it."""
        return self.send_from(path.socket, data, path.address)

    def send_from(self, sock: socket.socket, data: bytes, address: Address) -> bool:
        """Sends from the socket on which a request came: its answer must leave there. Returns as `send`."""
        try:
            sock.sendto(data, address)
        except OSError:
            self.drops["send_error"] += 1
            return False
        return True

    @property
    def listener_count(self) -> int:
        """Ufrags that are registered."""
        return len(self._listeners)

    @property
    def validated_addresses(self) -> tuple[Address, ...]:
        """Source addresses whose datagrams are given to a listener."""
        return tuple(self._validated)

    @property
    def awaited_responses(self) -> int:
        """STUN requests of ours that wait for their response."""
        return len(self._expected)

    def register(self, ufrag: str, listener: Listener) -> None:
        """Gives requests that address `ufrag` to `listener`. Raises ValueError if the ufrag is taken."""
        if self._listeners.setdefault(ufrag, listener) is not listener:
            raise ValueError(f"ufrag {ufrag} is taken")

    def unregister(self, ufrag: str) -> None:
        """Drops requests for `ufrag` from now on."""
        self._listeners.pop(ufrag, None)

    def validate(self, address: Address, listener: Listener) -> bool:
        """Gives datagrams from `address` to `listener`, which has just got an authenticated check from there.

        Returns False while the address belongs to another listener that heard it in the last seconds: a participant
        that can forge source addresses must not be able to take over somebody else's media.
        """
        owner = self._validated.get(address)
        if owner is not None and owner is not listener and listener.heard_at - owner.heard_at < _TAKEOVER_S:
            self.drops["address_taken"] += 1
            return False
        self._validated[address] = listener
        return True

    def invalidate(self, address: Address, listener: Listener) -> None:
        """Undoes `validate`, unless the address belongs to another listener by now."""
        if self._validated.get(address) is listener:
            del self._validated[address]

    def expect(self, transaction_id: bytes, handler: ResponseHandler) -> bool:
        """Gives the response to a STUN request of ours to `handler`; False if too many responses are awaited."""
        if len(self._expected) >= _MAX_EXPECTED:
            self.drops["expected_full"] += 1
            return False
        self._expected[transaction_id] = handler
        return True

    def forget(self, transaction_id: bytes) -> None:
        """Drops a response that is no longer awaited."""
        self._expected.pop(transaction_id, None)

    def after_read(self, callback: Callable[[], None]) -> None:
        """Runs `callback` once all datagrams of this read are handed out; outside of a read, by `call_soon`.

        One more turn of the loop is expensive in a process that sleeps most of the time.
        """
        if self._reading:
            self._after.append(callback)
        else:
            self._loop.call_soon(callback)

    def close(self) -> None:
        """Closes the sockets. All agents must be closed before."""
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
        validated, clock = self._validated, self._loop.time
        for _ in range(BURST // BATCH_MESSAGES):
            for datagrams in ingress.read():
                self.received += len(datagrams.places)
                listener = validated.get(datagrams.sender)
                if listener is not None and datagrams.is_media():
                    listener.heard_at = now = clock()
                    listener.media.on_srtp(datagrams, now)
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
            case _:  # an indication: libnice keeps NAT mappings open with them; they get no answer
                self.drops["indication"] += 1

    def _sweep(self) -> None:
        for listener in set(self._listeners.values()):
            listener.on_tick()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bind_all(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Returns sockets of one port number. A number may be free in one family only: then it tries the next one."""
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
    """Returns the bound socket, or none for an IPv6 address on a machine without IPv6."""
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
    """Makes room for datagrams that come while Python is busy; beyond `net.core.rmem_max` if permitted."""
    for option, force in _FORCE.items():
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        if sys.platform == "linux":
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER_BYTES)
