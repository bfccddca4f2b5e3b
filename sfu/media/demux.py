"""Which section of the description an incoming packet belongs to (RFC 9143 section 9.2, formerly RFC 8843).

Owns the table of SSRCs of one transport. Never knows what a section is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sfu.media.rtp import Packet

_MAX_SSRCS = 64


@dataclass(frozen=True, slots=True)
class Route:
    """What leads packets to one section that we receive."""

    mid: str
    mid_extension: int | None
    """The extension id under which packets carry the mid; None if they do not."""
    payload_types: tuple[int, ...]
    ssrcs: tuple[int, ...] = ()
    """The SSRCs signalled for it, if any."""


class Demux:
    """Finds a packet's section by its mid, else by its SSRC, else by its payload type if one section alone has it.

    What a mid or a payload type has told is kept for the SSRC, since senders stop writing mids. At most 64 SSRCs are
    kept; when one more comes, the one silent for longest is forgotten.
    """

    def __init__(self) -> None:
        self._extensions: tuple[int, ...] = ()
        self._by_mid: dict[bytes, Route] = {}
        self._by_payload_type: dict[int, Route] = {}
        self._by_ssrc: dict[int, Route] = {}

    def configure(self, routes: Sequence[Route]) -> None:
        """Takes over what an offer and answer agreed on; SSRCs learnt before stay with their mids if these remain."""
        by_mid = {route.mid: route for route in routes}
        learnt = {ssrc: by_mid[old.mid] for ssrc, old in self._by_ssrc.items() if old.mid in by_mid}
        signalled = {ssrc: route for route in routes for ssrc in route.ssrcs}
        self._by_ssrc = dict(list((signalled | learnt | signalled).items())[-_MAX_SSRCS:])
        self._by_mid = {mid.encode(errors="replace"): route for mid, route in by_mid.items()}
        self._extensions = tuple({route.mid_extension for route in routes if route.mid_extension is not None})
        self._by_payload_type = _unique(routes)

    def route(self, packet: Packet) -> str | None:
        """The mid of the packet's section, or None if nothing tells it."""
        route = self._by_ssrc.pop(packet.ssrc, None)
        if packet.extensions:
            route = self._named(packet.extensions) or route
        if route is None:
            route = self._by_payload_type.get(packet.payload_type)
        if route is None:
            return None
        self._by_ssrc[packet.ssrc] = route  # at the end again: the table is in order of use
        if len(self._by_ssrc) > _MAX_SSRCS:
            del self._by_ssrc[next(iter(self._by_ssrc))]
        return route.mid

    def _named(self, extensions: dict[int, bytes]) -> Route | None:
        for number in self._extensions:
            mid = extensions.get(number)
            if mid is not None:
                return self._by_mid.get(mid)
        return None


def _unique(routes: Sequence[Route]) -> dict[int, Route]:
    """The routes by the payload types that no other route has."""
    found: dict[int, Route] = {}
    shared: set[int] = set()
    for route in routes:
        shared |= found.keys() & set(route.payload_types)
        found |= dict.fromkeys(route.payload_types, route)
    return {payload_type: route for payload_type, route in found.items() if payload_type not in shared}
