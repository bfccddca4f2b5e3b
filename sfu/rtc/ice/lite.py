"""The ICE-lite agent (RFC 8445 section 2.5): answers authenticated checks, and asks back before it sends media.

Owns the credentials that count and the choice of the path. Never sends a byte to an address that has not first sent an
authenticated check, and no media to one from which nobody answered: a source address can be forged.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from sfu.rtc.ice.agent import DEFAULT_LIMITS, AgentListener, AgentTimeouts, IceAgent
from sfu.rtc.ice.question import Question
from sfu.rtc.net import stun
from sfu.rtc.net.paths import Path
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.stun import Address

_GENERATIONS: Final = 2
"""Credentials that are valid at the same time: those of an ICE restart and those before it."""
_AGAIN_S: Final = (0.1, 0.3)
"""When an unanswered check of ours is repeated. A lost one delays a first picture or a changed network by the first."""
_ASK_ANEW_S: Final = 1.0
"""How long after a check of ours the next one from the same address starts another series."""


class LiteAgent(IceAgent):
    """The server's agent where clients can reach it: always controlled, connected by the peer's first check.

    Chromium sends its ClientHello right behind its first check, and nominates 50 ms later. A proven address is used
    before it is nominated, which saves each viewer that time (RFC 8445 section 12.1.1: any valid pair may carry data).

    The first path carries the DTLS handshake at once, though little more than came from there until its other end has
    answered a check of ours or finished the handshake. A later path is used once its other end has answered. Our check
    leaves before our answer, so a peer has answered it before it sends its ClientHello: that costs no round trip.
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
        self._remote_pwds: dict[str, str] = {}
        self._first: Question | None = None
        """Open while nobody has answered at the first path."""
        self._next: Question | None = None
        """Open while nobody has answered at the path that was nominated last."""

    async def gather(self) -> None:
        """Does nothing: the announced addresses are the candidates."""

    def candidates(self) -> tuple[str, ...]:
        """Returns one host candidate for each address that is announced now."""
        return self._host_candidates(self._announce())

    def start(self, *, ufrag: str, pwd: str, lite: bool) -> None:  # noqa: ARG002  # a full agent needs them
        """Accepts checks from the remote `ufrag` from now on, and from the one before it until a third is given."""
        self._begin()
        self._remote_pwds[ufrag] = pwd
        if len(self._remote_pwds) > _GENERATIONS:
            del self._remote_pwds[next(iter(self._remote_pwds))]

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
        """Answers a check; asks back at its source if the check nominates or is the first."""
        pwd = self._pwds.get(stun.addressed_ufrag(data) or "")
        check = stun.parse(data)
        if pwd is None or check is None or not stun.is_check(check):
            self._port.drops["bad_stun"] += 1
        elif stun.remote_ufrag(check) not in self._remote_pwds or not stun.authentic(check, pwd):
            self._port.drops["unauthenticated"] += 1
        elif "ICE-CONTROLLED" in check.attributes:
            self._port.send_from(sock, stun.role_conflict(check, pwd), address)
        elif self.prove(address):
            answer = stun.success(check, address, pwd)
            question = self._question(check, Path(sock, address))
            if question is not None:
                question.heard(len(data) - len(answer))  # the answer is shorter than the check, and always sent
                self._ask(question)
            self._port.send_from(sock, answer, address)
            if question is not None and self._first is question:
                self._release(answered=False)

    def on_data(self, data: bytes) -> None:
        """Takes a datagram from a validated address; while that is one alone, it came from the first path."""
        if self._first is not None and len(self._addresses) == 1:
            self._first.heard(len(data))
            self._release(answered=False)
        super().on_data(data)

    def send(self, data: bytes) -> None:
        """Sends to the selected address. While nobody has answered there, what is too much waits."""
        if self.path is None:
            self.drops["no_path"] += 1
        elif self._first is None or (not self._first.waiting and self._first.take(len(data))):
            self._port.send(data, self.path)
        elif not self._first.hold(data):
            self.drops["unanswered"] += 1

    def on_secured(self) -> None:
        """Takes the first path as answered."""
        if self._first is not None:
            self._settle(self._first)

    async def close(self) -> None:
        """Unregisters from the port."""
        self._detach()

    def _question(self, check: stun.Message, path: Path) -> Question | None:
        """Returns the open question at the source of `check`; a new one if the peer wants to be reached there."""
        if self.path is None:
            self._first = self._open(check, path)
            self._selected(path)
        elif _same(path, self.path):
            if "USE-CANDIDATE" in check.attributes:
                self._forget(self._next)
                self._next = None
            return self._first
        elif "USE-CANDIDATE" in check.attributes and (self._next is None or not _same(path, self._next.path)):
            self._forget(self._next)
            self._next = self._open(check, path)
        return next((q for q in (self._first, self._next) if q is not None and _same(path, q.path)), None)

    def _open(self, check: stun.Message, path: Path) -> Question:
        local, remote = str(check.attributes["USERNAME"]).partition(":")[::2]
        question = Question(path, username=f"{remote}:{local}", pwd=self._remote_pwds[remote])

        def on_response(data: bytes, address: Address) -> None:
            if question in (self._first, self._next) and question.answered_by(data, address):
                self.on_heard()
                self._settle(question)

        self._port.expect(question.transaction_id, on_response)
        return question

    def _ask(self, question: Question) -> None:
        """Sends our check, and repeats it, unless it was sent within the last second."""
        now = self._clock()
        if now - question.asked_at >= _ASK_ANEW_S:
            question.asked_at = now
            self._send_check(question)
            loop = asyncio.get_running_loop()
            for delay in _AGAIN_S:
                loop.call_later(delay, self._send_check, question)

    def _send_check(self, question: Question) -> None:
        if question in (self._first, self._next) and question.take(len(question.data)):
            self._port.send(question.data, question.path)

    def _settle(self, question: Question) -> None:
        """Uses the path at which somebody has answered."""
        if question is self._next:
            self._forget(question)
            self._next = None
            self._selected(question.path)
        self._release(answered=True)
        self._forget(self._first)
        self._first = None

    def _release(self, *, answered: bool) -> None:
        if self._first is not None and self.path is not None:
            for data in self._first.released(answered=answered):
                self._port.send(data, self.path)

    def _forget(self, question: Question | None) -> None:
        """Awaits no answer any more."""
        if question is not None:
            self._port.forget(question.transaction_id)

    def _detach(self) -> None:
        super()._detach()
        for ufrag in self._pwds:
            self._port.unregister(ufrag)
        self._pwds.clear()
        self._forget(self._first)
        self._forget(self._next)
        self._first = self._next = None


def _same(path: Path, other: Path) -> bool:
    return path.address == other.address and path.socket is other.socket
