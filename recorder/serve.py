"""`recorder serve`: a recorder on a machine of its own, which views rooms and records all their producers.

Owns the start, the supervision and the end of it. Never records by itself: `recorder.manager` does, as in the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from recorder.manager import Recordings
from recorder.remote import Remote, Source, SourceMedia
from recorder.rules import RecordingConfig, Rules
from sfu.clients.attempt import Host
from sfu.clients.peer import Peer, PeerError
from sfu.clients.proof.credential import TokenSourceError
from sfu.clients.proof.source import TokenSource, own_id
from sfu.runner import until_first
from sfu.settings import RecordingMode
from sfu.signaling.broker_url import BrokerUrl, Tls
from sfu.signaling.topics import Leaf, Role, TopicError, contains

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The broker of the server, and our identity there."""

    broker: BrokerUrl
    base: str
    token: TokenSource | None = None
    peer_id: str | None = None
    tls: Tls | None = None


class _NoEvents:
    """A `RecordingEvents` that publishes nothing: only the server may publish in its rooms. The log has the events."""

    def recording(self, room: str, peer: str, on: bool, event: dict[str, Any]) -> None:
        """See `RecordingEvents`."""

    def event(self, room: str, event: dict[str, Any]) -> None:
        """See `RecordingEvents`."""


async def serve(rooms: Sequence[str], server: ServerAddress, config: RecordingConfig, *, stop: asyncio.Event) -> int:
    """Records all producers of `rooms` and their sub-rooms until `stop`, and returns the exit code.

    Waits for a broker or server that is not there. Returns 1 if the server rejects us, 2 if a room or base is invalid.
    """
    logging.getLogger("aioice").setLevel(logging.WARNING)
    loop = asyncio.get_running_loop()
    recordings = Recordings(replace(config, rules=_always(config.rules)), _NoEvents(), loop.time)
    try:
        viewed = [_ViewedRoom(room, server, recordings) for room in _outermost(rooms)]
    except TopicError as error:
        _log.error("%s", error)  # wrong usage, not a bug: no traceback
        return 2
    except TokenSourceError as error:
        _log.error("%s", error)
        return 1
    recordings.start()
    code = 0
    try:
        await until_first(recordings.run(), *(room.run() for room in viewed), _finish(recordings, stop))
    except PeerError as error:
        _log.error("the server rejects this recorder: %s (%s)", error, error.code)  # not a bug: no traceback
        code = 1
    finally:
        await recordings.close()
    return code


async def _finish(recordings: Recordings, stop: asyncio.Event) -> None:
    """Finishes the recordings before the connections: they must not wait for a broker that may be away."""
    await stop.wait()
    await recordings.close()


class _ViewedRoom:
    """One room: the peer that views it, and the producers handed to the recordings."""

    def __init__(self, room: str, server: ServerAddress, recordings: Recordings) -> None:
        leaf = Leaf.parse(f"{room}/{Role.VIEW}/{server.peer_id or own_id(server.token, Role.VIEW, 'recorder')}")
        self._recordings = recordings
        self._remote = Remote(asyncio.get_running_loop().time, self._on_media, name=room)
        self._peer = self._remote.peer = Peer(
            url=server.broker,
            base=server.base,
            leaf=leaf,
            host=Host.new(),
            sections=self._remote.sections,
            listener=self._remote,
            token=server.token,
            tls=server.tls,
        )

    async def run(self) -> None:
        """Views the room until cancelled. Raises PeerError if the server rejects us for good."""
        await until_first(self._peer.run(), self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._remote.tick()

    def _on_media(self, source: Source, media: SourceMedia | None) -> None:
        self._recordings.uplink(*source, media)


def _always(rules: Rules) -> Rules:
    """Returns rules that record every room but those that are set to off."""
    every = {
        room: replace(rule, mode=RecordingMode.ALWAYS)
        for room, rule in rules.rooms.items()
        if rule.mode is not RecordingMode.OFF
    }
    return Rules(replace(rules.all, mode=RecordingMode.ALWAYS), {**rules.rooms, **every})


def _outermost(rooms: Sequence[str]) -> list[str]:
    """Returns the rooms without those that another one contains."""
    return [room for room in dict.fromkeys(rooms) if not any(contains(other, room) for other in rooms if other != room)]
