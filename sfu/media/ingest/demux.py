"""Which stream of which section an incoming packet belongs to (RFC 9143 section 9.2, RFC 8852, RFC 4588).

Owns the table of SSRCs of one transport. Never knows what a section is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sfu.media.formats.rtp import Packet
from sfu.rtc.sdp.description import MID, REPAIRED_RID, RID, Receive

_MAX_SSRCS: Final = 64


@dataclass(frozen=True, slots=True)
class Route:
    """What leads packets to one section that we receive; an extension id is None where no packet carries its value."""

    mid: str
    mid_extension: int | None
    payload_types: tuple[int, ...]
    ssrcs: tuple[int, ...] = ()
    """The SSRCs signalled for it, if any."""
    rtx: tuple[int, ...] = ()
    """The payload types of its retransmissions."""
    rtx_ssrcs: tuple[int, ...] = ()
    rids: tuple[str, ...] = ()
    """Its layers; other rids lead nowhere."""
    rid_extension: int | None = None
    repaired_extension: int | None = None

    @classmethod
    def of(cls, mid: str, receive: Receive) -> Route:
        """The route to a section as it was negotiated."""
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
    """Where packets go. From one `configure` to the next there is one object for all that go to the same place."""

    mid: str
    rid: str | None
    """The layer, or the layer repaired; None without simulcast, and while nothing has told it."""
    repairs: bool
    """Whether these are retransmissions (RFC 4588)."""
    payload_types: frozenset[int]


class _Section:
    """A route with all that it can lead to: for each rid, and for none, media first and retransmissions second."""

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

    def told(self, packet: Packet, known: Routed | None) -> Routed | None:
        """By the packet's rid (RFC 8852), else by what is known of its SSRC; None for a rid that was not offered."""
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
    """Finds a packet's section by its mid, else by its SSRC, else by its payload type if one section alone has it.

    What a mid, a rid or a payload type has told is kept for the SSRC, since senders stop writing mids and rids. At most
    64 SSRCs are kept; when one more comes, the one silent for longest is forgotten.
    """

    def __init__(self) -> None:
        self._sections: dict[str, _Section] = {}
        self._by_mid: dict[bytes, _Section] = {}
        self._by_payload_type: dict[int, _Section] = {}
        self._by_ssrc: dict[int, Routed] = {}
        self._mid_extensions: frozenset[int] = frozenset()
        self.telling: frozenset[int] = frozenset()
        """The header extensions that may say of a packet that it goes elsewhere than the one before."""
        self.refused_rid = False
        """Whether the latest packet that was routed nowhere named a section, and a layer that it does not have."""

    def configure(self, routes: Sequence[Route]) -> None:
        """Takes over what an offer and answer agreed on; SSRCs learnt before stay with their mids if these remain."""
        sections = [_Section(route) for route in routes]
        self._sections = {section.mid: section for section in sections}
        self._by_mid = {mid.encode(errors="replace"): section for mid, section in self._sections.items()}
        self._by_payload_type = _unique(sections)
        rid_extensions = {number for route in routes for number in (route.rid_extension, route.repaired_extension)}
        self._mid_extensions = frozenset(route.mid_extension for route in routes if route.mid_extension is not None)
        self.telling = self._mid_extensions | {number for number in rid_extensions if number is not None}
        self._by_ssrc = self._known_again()

    def _known_again(self) -> dict[int, Routed]:
        """The table of SSRCs after a change: what was learnt and still exists, then what is signalled."""
        table: dict[int, Routed] = {}
        for ssrc, old in self._by_ssrc.items():
            section = self._sections.get(old.mid)
            if section is not None and old.rid in section.ends:
                table[ssrc] = section.ends[old.rid][old.repairs]
        for section in self._sections.values():
            for ssrc, routed in section.signalled.items():
                learnt = table.pop(ssrc, routed)  # of the same section it knows more: its rid
                table[ssrc] = learnt if learnt.mid == routed.mid else routed
        return dict(list(table.items())[-_MAX_SSRCS:])

    def route(self, packet: Packet) -> Routed | None:
        """Where the packet goes, or None if nothing tells it, or if its rid was never offered."""
        ssrc = packet.ssrc
        known = self._by_ssrc.pop(ssrc, None)
        if (
            known is not None
            and packet.payload_type in known.payload_types
            and (not packet.extensions or self.telling.isdisjoint(packet.extensions))
        ):
            self._by_ssrc[ssrc] = known  # at the end again: the table is in order of use
            return known
        routed = self._told(packet, known)
        learnt = routed or known
        if learnt is not None:
            self._by_ssrc[ssrc] = learnt
            if len(self._by_ssrc) > _MAX_SSRCS:
                del self._by_ssrc[next(iter(self._by_ssrc))]
        return routed

    def _told(self, packet: Packet, known: Routed | None) -> Routed | None:
        section = None
        for number in self._mid_extensions:
            mid = packet.extensions.get(number)
            if mid is not None:
                section = self._by_mid.get(mid)
                break
        if section is None:
            section = self._by_payload_type.get(packet.payload_type) if known is None else self._sections[known.mid]
        routed = None if section is None else section.told(packet, known)
        self.refused_rid = section is not None and routed is None
        return routed


def _unique(sections: Sequence[_Section]) -> dict[int, _Section]:
    """The sections by the payload types that no other section has."""
    found: dict[int, _Section] = {}
    shared: set[int] = set()
    for section in sections:
        media, rtx = section.ends[None]
        payload_types = media.payload_types | rtx.payload_types
        shared |= found.keys() & payload_types
        found |= dict.fromkeys(payload_types, section)
    return {payload_type: section for payload_type, section in found.items() if payload_type not in shared}
