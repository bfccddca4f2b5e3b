"""The full ICE agent on the shared port: for a server behind a NAT, and for our own client peers.

Owns the choice of the remote candidates and checks that reach aioice, and the change from one generation of credentials
to the next. Never touches private names of aioice: `aioice_agent` does.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from sfu.rtc.ice import candidates
from sfu.rtc.ice.agent import DEFAULT_LIMITS, AgentListener, AgentTimeouts, IceAgent, TurnServer
from sfu.rtc.ice.aioice_agent import Base, SharedConnection
from sfu.rtc.net import stun
from sfu.rtc.net.port import UdpPort
from sfu.rtc.net.stun import Address

MAX_CANDIDATES: Final = 16
"""Remote addresses, signalled or learned, that are checked in one generation."""
_MAX_OFFERED: Final = 64
"""Remote candidates of one generation that are parsed."""


class FullAgent(IceAgent):
    """An agent that gathers, checks, and then keeps asking for consent (RFC 7675).

    It nominates a pair if it is `controlling`; else the peer does. With `relay_only` it has no host or STUN candidates:
    everything goes through the TURN server.
    """

    lite = False

    def __init__(
        self,
        port: UdpPort,
        listener: AgentListener,
        *,
        ufrag: str,
        pwd: str,
        announce: Callable[[], Sequence[str]],
        controlling: bool = False,
        stun: Address | None = None,
        turn: TurnServer | None = None,
        allow_private: bool = True,
        relay_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
        limits: AgentTimeouts = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(port, listener, ufrag=ufrag, pwd=pwd, clock=clock, limits=limits)
        self._announce = (lambda: ()) if relay_only else announce
        self._controlling = controlling
        self._stun = None if relay_only else stun
        self._turn = turn
        self._allow_private = allow_private
        self._offered = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._newest = self._active = self._generation(ufrag, pwd)
        self._generations = {ufrag: self._newest}

    @property
    def valid_ufrags(self) -> tuple[str, ...]:
        """Local ufrags whose checks are answered: the newest, and during an ICE restart the one before."""
        return tuple(self._generations)

    async def gather(self) -> None:
        """Gathers host candidates, and those that STUN and TURN servers give within 2 s."""
        await self._newest.gather(self._announce())

    def candidates(self) -> tuple[str, ...]:
        """Returns the candidates: the announced addresses, then those from STUN and TURN servers."""
        others = [c.to_sdp() for c in self._newest.local_candidates if c.type != "host"]
        return self._host_candidates(self._announce()) + tuple(others)

    def start(self, *, ufrag: str, pwd: str, lite: bool) -> None:  # noqa: ARG002  # nomination is the same for both
        """Begins the checks. Parameters unlike the last ones begin a new generation."""
        if self._over or (self._newest.remote_username, self._newest.remote_password) == (ufrag, pwd):
            return
        self._begin()
        if self._newest.remote_username is not None:
            self._renew(self.ufrag, self.pwd)
        self._newest.remote_username, self._newest.remote_password = ufrag, pwd
        self._spawn(self._connect(self._newest), "ice connect")

    def restart(self, *, ufrag: str, pwd: str) -> None:
        """Makes a new generation, to be gathered and started. The selected pair stays until that one has its own."""
        self._port.register(ufrag, self)
        self.ufrag, self.pwd = ufrag, pwd
        self._renew(ufrag, pwd)

    def add_candidate(self, candidate: str | None) -> None:
        """Checks a remote candidate if the policy allows it; else counts the reason.

        None, the end of candidates, is ignored: signalling may repeat it or send more, and a peer that never connects
        is ended after `limits.half_open`.
        """
        if candidate is None or self._over:
            return
        self._offered += 1
        if self._offered > _MAX_OFFERED:
            self.drops["candidates_full"] += 1
            return
        try:
            parsed = candidates.parse(candidate, allow_private=self._allow_private)
        except candidates.RefusedError as refused:
            self.drops[f"candidate_{refused}"] += 1
            return
        if not self._newest.offer(parsed, MAX_CANDIDATES):
            self.drops["candidates_full"] += 1

    def on_request(self, data: bytes, sock: socket.socket, address: Address) -> None:
        """Handles a check that came to the shared port."""
        connection = self._generations.get(stun.addressed_ufrag(data) or "")
        base = connection.base_of(sock) if connection else None
        if connection is None or base is None:
            self._port.drops["bad_stun"] += 1
        else:
            self.on_check(data, connection, base, address)

    def on_check(self, data: bytes, connection: SharedConnection, base: Base, address: Address) -> None:
        """Handles a check, direct or relayed. Gives it to aioice if it is authentic and its address may be answered."""
        check = stun.parse(data)
        if check is None or not stun.is_check(check):
            self._port.drops["bad_stun"] += 1
        elif connection.remote_username not in (None, stun.remote_ufrag(check)) or not stun.authentic(
            check, connection.local_password
        ):
            self._port.drops["unauthenticated"] += 1
        elif not connection.knows(address) and not self._may_learn(connection, address):
            self.drops["address_refused"] += 1
        elif base.prove(address):
            connection.request_received(check, address, base)

    def send(self, data: bytes) -> None:
        """Sends by the selected pair, which may lead through the TURN server."""
        if not self._active.send_selected(data):
            self.drops["no_path"] += 1

    def on_selected(self, connection: SharedConnection) -> None:
        """Uses the nominated pair. The first pair of a new generation ends the generation before."""
        if self._over or connection not in (self._active, self._newest):
            return
        previous, self._active = self._active, connection
        if previous is not connection:
            self._spawn(previous.release(), "ice release")
            self._forget_generations()
        self._selected(connection.path())

    def on_lost(self, connection: SharedConnection) -> None:
        """Ends the agent if the connection in use has lost the peer's consent (RFC 7675)."""
        if connection is self._active:
            self._end("ice")

    async def close(self) -> None:
        """Unregisters from the port and releases TURN allocations, within a second."""
        self._detach()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.gather(*(connection.release() for connection in {self._active, self._newest}))

    def _generation(self, ufrag: str, pwd: str) -> SharedConnection:
        return SharedConnection(
            self,
            self._port,
            ufrag=ufrag,
            pwd=pwd,
            controlling=self._controlling,
            stun_server=self._stun,
            turn_server=self._turn,
        )

    def _renew(self, ufrag: str, pwd: str) -> None:
        unused = self._newest
        self._newest = self._generations[ufrag] = self._generation(ufrag, pwd)
        self._offered = 0
        if unused is not self._active:
            self._spawn(unused.release(), "ice release")
        self._forget_generations()

    def _forget_generations(self) -> None:
        for known in [u for u, c in self._generations.items() if c not in (self._active, self._newest)]:
            del self._generations[known]
            self._port.unregister(known)

    async def _connect(self, connection: SharedConnection) -> None:
        try:
            async with asyncio.timeout(self.limits.half_open):
                if not connection.gathered:
                    await connection.gather(self._announce())
                await connection.connect()
        except (ConnectionError, TimeoutError):
            if connection is not self._active:  # a failed restart leaves the connection in use alone
                await connection.release()

    def _may_learn(self, connection: SharedConnection, address: Address) -> bool:
        if not connection.may_learn(MAX_CANDIDATES):
            return False
        try:
            candidates.allowed_host(*address, allow_private=self._allow_private)
        except candidates.RefusedError:
            return False
        return True

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _detach(self) -> None:
        super()._detach()
        for ufrag in self._generations:
            self._port.unregister(ufrag)
        self._generations.clear()
