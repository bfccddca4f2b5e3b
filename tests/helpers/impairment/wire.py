"""The relay's own process: sockets in, impairments, a heap of what is due, sockets out.

Owns the clients' upstream sockets, which the server sees as it sees a NAT's. No event loop: `select` keeps time to
0.1 ms where the loops' clocks tick once a millisecond. Started by `relay`, which says what to do over a socket pair.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from sfu.rtc.net import stun
from tests.helpers.impairment.link import Impairment, Line

Address = tuple[str, int]

_BURST = 64
"""Datagrams read from one socket before it is time to look what is due."""
_BUFFER_BYTES = 4 << 20
_HOMES = 200
"""Addresses from 127.0.0.10 on that clients come from, one after the other: a move changes more than the port."""


class _Path:
    """One client's line at work, whatever addresses it comes from."""

    def __init__(self, name: str, line: Line, seed: int) -> None:
        self.name = name
        self.up = Impairment(line.up, f"{seed}/{name}/up")
        self.down = Impairment(line.down, f"{seed}/{name}/down")
        self.faults: Counter[str] = Counter()
        self.moves = 0

    def change(self, line: Line) -> None:
        self.up.link, self.down.link = line.up, line.down

    def counters(self) -> dict[str, dict[str, int]]:
        faults = {**self.faults, "moves": self.moves}
        return {"up": dict(self.up.counters), "down": dict(self.down.counters), "wire": faults}


class _Client:
    """One address of a client, and the socket that stands for it at the server."""

    def __init__(self, address: Address, ufrag: str | None, path: _Path, upstream: socket.socket) -> None:
        self.address = address
        self.ufrag = ufrag
        self.path = path
        self.upstream = upstream
        self.gone = False
        """True if it has left this address."""


class Wire:
    """Runs the relay until it is stopped."""

    def __init__(self, listening: socket.socket, server: Address, control: Connection, rest: Line, seed: int) -> None:
        self._listening = listening
        self._server = server
        self._control = control
        self._rest = rest
        self._seed = seed
        self._paths: dict[str, _Path] = {}
        self._by_ufrag: dict[str, _Path] = {}
        self._clients: dict[Address, _Client] = {}
        self._readers: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._due: list[tuple[float, int, socket.socket, bytes, Address | None, _Path]] = []
        self._count = itertools.count()
        self._homes = itertools.cycle(range(10, 10 + _HOMES))
        self._strangers = 0
        self._running = True
        self._read_from(listening, self._from_clients)

    def run(self) -> None:
        while self._running:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            watched: list[Any] = [self._epoll, self._control]
            ready, _, _ = select.select(watched, [], [], wait)
            self._send_due()
            if self._epoll in ready:
                for number, _ in self._epoll.poll(0):
                    self._readers[number]()
                    self._send_due()
            if self._control in ready:
                self._obey()

    def _obey(self) -> None:
        try:
            order, *arguments = self._control.recv()
            value = getattr(self, f"order_{order}")(*arguments)
        except EOFError:  # whoever started us is gone
            self._running = False
        except (KeyError, OSError) as error:
            self._control.send((False, repr(error)))
        else:
            self._control.send((True, value))

    def order_set(self, name: str, line: Line, ufrags: Sequence[str]) -> None:
        """Clients of these ufrags come over this path from now on."""
        path = self._paths.setdefault(name, _Path(name, line, self._seed)) if ufrags else self._paths[name]
        path.change(line)
        self._by_ufrag.update(dict.fromkeys(ufrags, path))
        for client in self._clients.values():
            if client.ufrag in ufrags:
                client.path = path

    def order_move(self, name: str) -> None:
        """Loses packets of the server to the old address from now on, as if a phone had left its Wi-Fi."""
        path = self._paths[name]
        path.moves += 1
        home = self._home()
        for client in self._clients.values():
            if client.path is path:
                self._readers[client.upstream.fileno()] = _discard(client.upstream, path)
                client.upstream = self._upstream(home)
                self._read_from(client.upstream, self._from_server(client, client.upstream))

    def order_leave(self, name: str) -> None:
        """Both ways are lost from now on, until the client comes from addresses of another network."""
        path = self._paths[name]
        path.moves += 1
        for client in self._clients.values():
            if client.path is path and not client.gone:
                client.gone = True
                self._readers[client.upstream.fileno()] = _discard(client.upstream, path)

    def order_counters(self) -> dict[str, dict[str, dict[str, int]]]:
        return {name: path.counters() for name, path in self._paths.items()}

    def order_stop(self) -> None:
        self._running = False

    def _from_clients(self) -> None:
        for _ in range(_BURST):
            try:
                data, address = self._listening.recvfrom(65536)
            except BlockingIOError:
                return
            client = self._clients.get(address) or self._welcome(data, address)
            if client.gone:
                client.path.faults["from_old_address"] += 1
                continue
            self._carry(client.path.up, len(data), client.path, client.upstream, data, None)

    def _from_server(self, client: _Client, upstream: socket.socket) -> Callable[[], None]:
        def read() -> None:
            for _ in range(_BURST):
                try:
                    data = upstream.recv(65536)
                except BlockingIOError:
                    return
                except ConnectionRefusedError:
                    client.path.faults["refused"] += 1
                    continue
                self._carry(client.path.down, len(data), client.path, self._listening, data, client.address)

        return read

    def _carry(
        self, impairment: Impairment, size: int, path: _Path, out: socket.socket, data: bytes, to: Address | None
    ) -> None:
        for at in impairment.take(size, time.monotonic()):
            heapq.heappush(self._due, (at, next(self._count), out, data, to, path))

    def _send_due(self) -> None:
        due = self._due
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, _, out, data, to, path = heapq.heappop(due)
            try:
                out.send(data) if to is None else out.sendto(data, to)
            except OSError as error:
                path.faults[type(error).__name__] += 1

    def _welcome(self, data: bytes, address: Address) -> _Client:
        ufrag = _ufrag(data)
        client = _Client(address, ufrag, self._path_of(ufrag), self._upstream(self._home()))
        self._clients[address] = client
        self._read_from(client.upstream, self._from_server(client, client.upstream))
        return client

    def _path_of(self, ufrag: str | None) -> _Path:
        """All addresses of a client share a path: they are candidates of one machine."""
        if ufrag is not None and ufrag in self._by_ufrag:
            return self._by_ufrag[ufrag]
        name = f"client-{self._strangers}"
        self._strangers += 1
        path = self._paths[name] = _Path(name, self._rest, self._seed)
        if ufrag is not None:
            self._by_ufrag[ufrag] = path
        return path

    def _home(self) -> str:
        return f"127.0.0.{next(self._homes)}"

    def _upstream(self, home: str) -> socket.socket:
        sock = enlarged(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        if self._server[0].startswith("127."):  # elsewhere the kernel chooses: Janus does not hear loopback
            sock.bind((home, 0))
        sock.connect(self._server)
        return sock

    def _read_from(self, sock: socket.socket, read: Callable[[], None]) -> None:
        self._readers[sock.fileno()] = read
        self._epoll.register(sock.fileno(), select.EPOLLIN)


def enlarged(sock: socket.socket) -> socket.socket:
    """Room for what comes while the machine is busy: the relay must lose only the packets it is meant to lose."""
    sock.setblocking(False)
    for option in (33, 32):  # SO_RCVBUFFORCE and SO_SNDBUFFORCE of Linux
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    return sock


def _discard(sock: socket.socket, path: _Path) -> Callable[[], None]:
    def read() -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while sock.recv(65536):
                path.faults["to_old_address"] += 1

    return read


def _ufrag(data: bytes) -> str | None:
    """The client's own, from a check it sends: what tells that several addresses are one client's."""
    message = stun.parse(data) if stun.is_message(data) else None
    return stun.remote_ufrag(message) if message is not None and stun.is_check(message) else None


def main(arguments: list[str]) -> None:
    control, listening = Connection(int(arguments[0])), socket.socket(fileno=int(arguments[1]))
    server, rest, seed = control.recv()
    with contextlib.suppress(OSError):  # as root: packets leave when they are due, however busy the machine is
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    Wire(listening, server, control, rest, seed).run()


if __name__ == "__main__":
    main(sys.argv[1:])
