"""The ICE-lite agent (RFC 8445 section 2.5): answers authenticated checks, sends none.

Owns the credentials that count and the choice of the path. Never sends a byte to an address that has not first sent an
authenticated check.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from sfu.rtc.ice.agent import DEFAULT_LIMITS, AgentListener, AgentTimeouts, IceAgent
from sfu.rtc.net import stun
from sfu.rtc.net.paths import Path
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.stun import Address

_GENERATIONS: Final = 2
"""Credentials that are valid at the same time: those of an ICE restart and those before it."""


class LiteAgent(IceAgent):
    """The server's agent where clients can reach it: always controlled, connected by the peer's first check.

    Chromium sends its ClientHello right behind its first check, and nominates 50 ms later. A proven address is used
    before it is nominated, which saves each viewer that time (RFC 8445 section 12.1.1: any valid pair may carry data).
    """

    lite = True

    def __init__(
        self,
        port: UdpPort,
        listener: AgentListener,
        *,
        ufrag: str,
        pwd: str,
        announce: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
        limits: AgentTimeouts = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(port, listener, ufrag=ufrag, pwd=pwd, clock=clock, limits=limits)
        self._announce = announce
        self._pwds = {ufrag: pwd}
        self._remote_ufrags: list[str] = []

    async def gather(self) -> None:
        """Does nothing: the announced addresses are the candidates."""

    def candidates(self) -> tuple[str, ...]:
        """Returns one host candidate for each address that is announced now."""
        return self._host_candidates(self._announce())

    def start(self, *, ufrag: str, pwd: str, lite: bool) -> None:  # noqa: ARG002  # a full agent needs them
        """Accepts checks from the remote `ufrag` from now on, and from the one before it until a third is given."""
        self._begin()
        if ufrag not in self._remote_ufrags:
            self._remote_ufrags = [*self._remote_ufrags, ufrag][-_GENERATIONS:]

    def restart(self, *, ufrag: str, pwd: str) -> None:
        """Accepts checks to the local `ufrag` too, and to the one before it until a third is given."""
        self._port.register(ufrag, self)
        self.ufrag, self.pwd = ufrag, pwd
        self._pwds[ufrag] = pwd
        if len(self._pwds) > _GENERATIONS:
            oldest = next(iter(self._pwds))
            del self._pwds[oldest]
            self._port.unregister(oldest)

    def add_candidate(self, candidate: str | None) -> None:
        """Does nothing: a lite agent sends no checks, and learns the peer's addresses from the peer's checks."""

    def on_request(self, data: bytes, sock: socket.socket, address: Address) -> None:
        """Answers a check; selects its source if the check nominates or is the first."""
        pwd = self._pwds.get(stun.addressed_ufrag(data) or "")
        check = stun.parse(data)
        if pwd is None or check is None or not stun.is_check(check):
            self._port.drops["bad_stun"] += 1
        elif stun.remote_ufrag(check) not in self._remote_ufrags or not stun.authentic(check, pwd):
            self._port.drops["unauthenticated"] += 1
        elif "ICE-CONTROLLED" in check.attributes:
            self._port.send_from(sock, stun.role_conflict(check, pwd), address)
        elif self.prove(address):
            self._port.send_from(sock, stun.success(check, address, pwd), address)
            if "USE-CANDIDATE" in check.attributes or self.path is None:
                self._select(sock, address)

    def send(self, data: bytes) -> None:
        """Sends to the selected address."""
        if self.path is None:
            self.drops["no_path"] += 1
        else:
            self._port.send(data, self.path)

    async def close(self) -> None:
        """Unregisters from the port."""
        self._detach()

    def _select(self, sock: socket.socket, address: Address) -> None:
        if self.path is None or self.path.address != address or self.path.socket is not sock:
            self._selected(Path(sock, address))

    def _detach(self) -> None:
        super()._detach()
        for ufrag in self._pwds:
            self._port.unregister(ufrag)
        self._pwds.clear()
