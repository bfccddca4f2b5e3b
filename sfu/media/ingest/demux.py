"""Demultiplexing: incoming packets to streams and sections (RFC 9143 section 9.2, RFC 8852, RFC 4588).

Owns the table of SSRCs of one transport. Never knows the purpose of a section.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.description import MID, REPAIRED_RID, RID, Receive

_MAX_SSRCS: Final = 64
_MAX_NEWS: Final = 4096
_SSRCS_PER_LAYER: Final = 4
"""Of media and retransmissions, each twice: a layer may change its SSRC."""


@dataclass(frozen=True, slots=True)
class Route:
    """The identifiers that packets of one section carry. An extension id is None if it was not negotiated."""

    mid: str
    mid_extension: int | None
    payload_types: tuple[int, ...]
    ssrcs: tuple[int, ...] = ()
    """The SSRCs in its description, if any."""
    rtx: tuple[int, ...] = ()
    """Payload types of its retransmissions."""
    rtx_ssrcs: tuple[int, ...] = ()
    rids: tuple[str, ...] = ()
    """The rids of its layers. Packets with other rids are not routed."""
    rid_extension: int | None = None
    repaired_extension: int | None = None

    @classmethod
    def of(cls, mid: str, receive: Receive) -> Route:
        """Returns the route to a section as it was negotiated."""
        return cls(
            mid=mid,
            mid_extension=receive.extensions.get(MID),
            payload_types=tuple(codec.payload_type for codec in receive.codecs),
            ssrcs=receive.ssrcs,
            rtx=tuple(receive.rtx),
            rtx_ssrcs=tuple(receive.repairs),
            rids=receive.rids,
            rid_extension=receive.extensions.get(RID),
            repaired_extension=receive.extensions.get(REPAIRED_RID),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """The destination of packets. Between two calls of `configure` there is one object for each destination."""

    mid: str
    rid: str | None
    """The layer, or the layer that is repaired; None without simulcast, and while it is unknown."""
    repairs: bool
    """True for retransmissions (RFC 4588)."""
    payload_types: frozenset[int]


class _Section:
    """A route and its destinations: for each rid, and for no rid, a pair of media and retransmissions."""

    def __init__(self, route: Route) -> None:
        self.mid = route.mid
        self.ends = {
            rid: (
                Routed(route.mid, rid, False, frozenset(route.payload_types)),
                Routed(route.mid, rid, True, frozenset(route.rtx)),
            )
            for rid in (None, *route.rids)
        }
        self._media, self._rtx = self.ends[None]
        self.signalled = dict.fromkeys(route.ssrcs, self._media) | dict.fromkeys(route.rtx_ssrcs, self._rtx)
        self._rid_extensions = (route.rid_extension, route.repaired_extension)

    def find(self, packet: Packet, known: Routed | None) -> Routed | None:
        """Returns the destination by the packet's rid (RFC 8852), else by its SSRC; None for a rid not offered."""
        repairs = packet.payload_type in self._rtx.payload_types
        number = self._rid_extensions[repairs]
        value = None if number is None else packet.extensions.get(number)
        if value is not None:
            ends = self.ends.get(value.decode("ascii", "replace"))
            return None if ends is None else ends[repairs]
        if known is None or known.mid != self.mid:
            return self._rtx if repairs else self._media
        return known if known.repairs is repairs else self.ends[known.rid][repairs]


class Demux:
    """The demultiplexer of one transport: by mid, else by SSRC, else by a payload type that only one section has.

    The result is kept for the SSRC, because senders stop writing mids and rids after a while. At most 64 SSRCs are
    kept, or more if so many layers were negotiated; one more replaces the SSRC that was silent for longest.
    """

    def __init__(self) -> None:
        self._sections: dict[str, _Section] = {}
        self._by_mid: dict[bytes, _Section] = {}
        self._by_payload_type: dict[int, _Section] = {}
        self._by_ssrc: dict[int, Routed] = {}
        self._paused: dict[int, Routed] = {}
        self._mid_extensions: frozenset[int] = frozenset()
        self.routing_extensions: frozenset[int] = frozenset()
        """Header extension ids (mid, rid) with which a packet may go to another place than the one before."""
        self.met: deque[int] = deque(maxlen=_MAX_NEWS)
        """The latest SSRCs that were not kept before; may be emptied."""
        self.left: deque[int] = deque(maxlen=_MAX_NEWS)
        """The latest SSRCs that are no longer kept; may be emptied."""
        self._most = _MAX_SSRCS
        self.refused_rid = False
        """True if the latest packet without destination had a known section and a rid that this does not have."""

    @property
    def ssrcs(self) -> Set[int]:
        """Returns the SSRCs whose destination is kept."""
        return self._by_ssrc.keys()

    def configure(self, routes: Sequence[Route]) -> None:
        """Takes over a negotiation. Known SSRCs keep their sections if these still exist, or exist again.

        A browser that pauses a section and goes on writes neither mid nor rid again (RFC 8852 section 3.1).
        """
        sections = [_Section(route) for route in routes]
        self._sections = {section.mid: section for section in sections}
        self._by_mid = {mid.encode(errors="replace"): section for mid, section in self._sections.items()}
        self._by_payload_type = _unique(sections)
        rid_extensions = {number for route in routes for number in (route.rid_extension, route.repaired_extension)}
        self._mid_extensions = frozenset(route.mid_extension for route in routes if route.mid_extension is not None)
        self.routing_extensions = self._mid_extensions | {number for number in rid_extensions if number is not None}
        self._most = max(_MAX_SSRCS, _SSRCS_PER_LAYER * sum(len(section.ends) for section in sections))
        self._by_ssrc = self._kept_ssrcs()

    def _kept_ssrcs(self) -> dict[int, Routed]:
        """Returns the SSRCs after a change: the known ones that still have a section, then the signalled ones."""
        table: dict[int, Routed] = {}
        paused: dict[int, Routed] = {}
        for ssrc, old in {**self._paused, **self._by_ssrc}.items():
            section = self._sections.get(old.mid)
            if section is None:
                paused[ssrc] = old
            elif old.rid in section.ends:
                table[ssrc] = section.ends[old.rid][old.repairs]
        self._paused = dict(list(paused.items())[-_MAX_SSRCS:])
        for section in self._sections.values():
            for ssrc, routed in section.signalled.items():
                learnt = table.pop(ssrc, routed)  # in the same section it also has the rid
                table[ssrc] = learnt if learnt.mid == routed.mid else routed
        return dict(list(table.items())[-self._most :])

    def route(self, packet: Packet) -> Routed | None:
        """Returns the packet's destination; None if it has no known identifier or its rid was not offered."""
        ssrc = packet.ssrc
        known = self._by_ssrc.pop(ssrc, None)
        if (
            known is not None
            and packet.payload_type in known.payload_types
            and (not packet.extensions or self.routing_extensions.isdisjoint(packet.extensions))
        ):
            self._by_ssrc[ssrc] = known  # moves to the end: the table is in order of use
            return known
        routed = self._find(packet, known)
        learnt = routed or known
        if known is None:
            self.met.append(ssrc)
        if learnt is not None:
            self._by_ssrc[ssrc] = learnt
            if len(self._by_ssrc) > self._most:
                oldest = next(iter(self._by_ssrc))
                del self._by_ssrc[oldest]
                self.left.append(oldest)
        return routed

    def _find(self, packet: Packet, known: Routed | None) -> Routed | None:
        section = None
        for number in self._mid_extensions:
            mid = packet.extensions.get(number)
            if mid is not None:
                section = self._by_mid.get(mid)
                break
        if section is None:
            section = self._by_payload_type.get(packet.payload_type) if known is None else self._sections[known.mid]
        routed = None if section is None else section.find(packet, known)
        self.refused_rid = section is not None and routed is None
        return routed


def _unique(sections: Sequence[_Section]) -> dict[int, _Section]:
    """Returns the sections by the payload types that no other section has."""
    found: dict[int, _Section] = {}
    shared: set[int] = set()
    for section in sections:
        media, rtx = section.ends[None]
        payload_types = media.payload_types | rtx.payload_types
        shared |= found.keys() & payload_types
        found |= dict.fromkeys(payload_types, section)
    return {payload_type: section for payload_type, section in found.items() if payload_type not in shared}
