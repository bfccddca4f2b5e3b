"""`recorder serve`: a recorder on its own machine, a viewer of rooms that records whatever it is shown.

Owns the start, the supervision and the end. The recordings are made by the same code as in the server.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from recorder.manager import Recordings
from recorder.remote import Remote, Shown, Source
from recorder.rules import RecordingConfig, Rules
from sfu.clients.attempt import Host
from sfu.clients.peer import Peer, PeerError, until_first
from sfu.settings import RecordingMode
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.topics import Leaf, Role, TopicError, contains

_log = logging.getLogger(__name__)

_TICK: Final = 0.1


@dataclass(frozen=True, slots=True)
class Where:
    """The server's broker, and as whom we view."""

    broker: BrokerUrl
    base: str
    token: str | None = None
    peer_id: str | None = None


class _Nobody:
    """An `Audience`: what is told of rooms is their server's to tell. The log has it all the same."""

    def recording(self, room: str, peer: str, on: bool, event: dict[str, Any]) -> None:
        """See `Audience`."""

    def event(self, room: str, event: dict[str, Any]) -> None:
        """See `Audience`."""


async def serve(rooms: Sequence[str], where: Where, terms: RecordingConfig, *, stop: asyncio.Event) -> int:
    """Records all producers of `rooms` and their sub-rooms until `stop`; the exit code.

    A broker or server that is away is waited for. 1: the server refuses us; 2: a room or base that cannot be one.
    """
    logging.getLogger("aioice").setLevel(logging.WARNING)
    loop = asyncio.get_running_loop()
    recordings = Recordings(replace(terms, rules=_always(terms.rules)), _Nobody(), loop.time)
    try:
        stations = [_Station(room, where, recordings) for room in _outermost(rooms)]
    except TopicError as error:
        _log.error("%s", error)  # wrong usage, no fault of ours
        return 2
    recordings.start()
    code = 0
    try:
        await until_first(recordings.run(), *(station.run() for station in stations), _finish(recordings, stop))
    except PeerError as error:
        _log.error("the server refuses us: %s (%s)", error, error.code)  # no fault of ours
        code = 1
    finally:
        await recordings.close()
    return code


async def _finish(recordings: Recordings, stop: asyncio.Event) -> None:
    """What is recorded is brought to an end first: it does not wait for a broker that may be away."""
    await stop.wait()
    await recordings.close()


class _Station:
    """One room: who views it for us, and what of it is recorded."""

    def __init__(self, room: str, where: Where, recordings: Recordings) -> None:
        leaf = Leaf.parse(f"{room}/{Role.VIEW}/{where.peer_id or f'recorder-{secrets.token_hex(3)}'}")
        self._recordings = recordings
        self._remote = Remote(asyncio.get_running_loop().time, self._on_shown, name=room)
        self._peer = self._remote.peer = Peer(
            url=where.broker,
            base=where.base,
            leaf=leaf,
            host=Host.new(),
            sections=self._remote.sections,
            listener=self._remote,
            token=where.token,
        )

    async def run(self) -> None:
        """Until cancelled; PeerError when the server refuses us for good."""
        await until_first(self._peer.run(), self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._remote.tick()

    def _on_shown(self, source: Source, shown: Shown | None) -> None:
        self._recordings.uplink(*source, shown)


def _always(rules: Rules) -> Rules:
    """A recorder that is run records: only rooms that were said to be off are left out."""
    every = {
        room: replace(rule, mode=RecordingMode.ALWAYS)
        for room, rule in rules.rooms.items()
        if rule.mode is not RecordingMode.OFF
    }
    return Rules(replace(rules.all, mode=RecordingMode.ALWAYS), {**rules.rooms, **every})


def _outermost(rooms: Sequence[str]) -> list[str]:
    """Without those that another one contains."""
    return [room for room in dict.fromkeys(rooms) if not any(contains(o, room) for o in rooms if o != room)]
