"""The decisions about a peer's offer: which sections are served, in which direction, with which codecs.

Owns the decisions of offer and answer (RFC 3264, RFC 8829 section 5.3) and the numbering of windows. Never touches SDP
text, sockets or rooms.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sfu.rtc.sdp.codec import Codec, by_preference, packetization_mode
from sfu.rtc.sdp.description import (
    EXTENSIONS,
    MID,
    REPAIRED_RID,
    RID,
    TRANSPORT_CC,
    Agreed,
    Description,
    Direction,
    Negotiated,
    Receive,
    SdpError,
    Section,
    Send,
    TransportParameters,
)

Role = Literal["pub", "view", "join"]

FEEDBACK = ("nack", "nack pli", "ccm fir", "goog-remb")

# RFC 8829 section 5.1.2: all of these mean DTLS-SRTP if there is a fingerprint.
_PROTOCOL = re.compile(r"(UDP/TLS/|TCP/DTLS/)?RTP/S?AVPF?", re.IGNORECASE)
# RFC 8285 section 6: the direction that answers the offered one.
_REVERSED: Mapping[Direction, Direction] = {"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
# RFC 8285 section 4.2: ids that fit the one-byte header, the only form that we negotiate.
_EXTENSION_IDS = range(1, 15)


@dataclass(frozen=True, slots=True)
class _Terms:
    """The arguments of `negotiate`, and the windows counted so far, by kind."""

    role: Role
    preference: Sequence[str]
    ssrc: Callable[[str], int]
    windows: Counter[str] = field(default_factory=Counter)


def negotiate(
    offer: Description,
    role: Role,
    *,
    preference: Sequence[str],
    ssrc: Callable[[str], int],
) -> Negotiated:
    """Returns the answer to an offer, as decisions.

    A `pub` peer only sends, in the one codec of the answer; a `view` peer only receives; a `join` peer does both.
    `preference` are codec names, best first (codecs not named there come last). `ssrc` is called with the mid of each
    section that we send in, then with "MID rtx" for its retransmissions, even if the peer accepts none: so the k-th
    section has the same two SSRCs for every peer. It must return the same SSRCs on every re-offer.
    Raises SdpError("codec") if no section can be served.
    """
    refusals = _refusals(offer)
    served = [section for section in offer.sections if section.index not in refusals]
    if not served:
        reasons = ", ".join(f"{section.mid}: {refusals[section.index]}" for section in offer.sections)
        raise SdpError("codec", f"no section can be served ({reasons})")
    terms = _Terms(role, preference, ssrc)
    sections = tuple(
        _rejected(section, refusals[section.index], role) if section.index in refusals else _agreed(section, terms)
        for section in offer.sections
    )
    transport = _transport(offer, served)
    return Negotiated(
        sections=sections,
        bundle=_bundle(offer, served),
        setup="active" if transport.setup == "passive" else "passive",
        ice_lite=offer.ice_lite,
        ufrag=transport.ufrag,
        pwd=transport.pwd,
        fingerprints=transport.fingerprints,
        candidates=transport.candidates,
        end_of_candidates=transport.end_of_candidates,
    )


def _refusals(offer: Description) -> dict[int, str]:
    """Returns the reasons why sections cannot be served, by index: their own, then a transport unlike the first one."""
    refusals = {section.index: reason for section in offer.sections if (reason := _refusal(section))}
    others = [section for section in offer.sections if section.index not in refusals]
    if offer.bundle is not None:
        bundled = set(offer.bundle)
        return refusals | {section.index: "bundle" for section in others if section.mid not in bundled}
    complete = [section.transport for section in others if section.transport.complete]
    credentials = {(transport.ufrag, transport.pwd) for transport in complete[:1]}
    foreign = [section for section in others if (section.transport.ufrag, section.transport.pwd) not in credentials]
    return refusals | {section.index: "bundle" for section in foreign}


def _refusal(section: Section) -> str | None:
    if section.rejected:
        return "off"
    if section.kind not in {"audio", "video"}:
        return "kind"
    if not _PROTOCOL.fullmatch(section.protocol):
        return "protocol"
    if not section.rtcp_mux:
        return "rtcp-mux"
    return None if _servable(section.codecs) else "codec"


def _servable(codecs: Sequence[Codec]) -> list[Codec]:
    """Returns the codecs without H.264 in interleaved mode, whose packet order no viewer has agreed to."""
    return [codec for codec in codecs if codec.name != "H264" or packetization_mode(codec) in {0, 1}]


def _rejected(section: Section, reason: str, role: Role) -> Agreed:
    return Agreed(
        index=section.index,
        mid=section.mid,
        named=section.named,
        kind=section.kind,
        protocol=section.protocol,
        formats=section.formats,
        direction="inactive",
        rejected=reason,
        unknown_codecs=reason == "codec" and role != "view" and section.direction in {"sendrecv", "sendonly"},
    )


def _agreed(section: Section, terms: _Terms) -> Agreed:
    direction = _direction(section.direction, terms.role)
    sends, receives = direction in {"sendrecv", "sendonly"}, direction in {"sendrecv", "recvonly"}
    codecs = _codecs(section, terms, all_of_them=sends)
    rids = _rids(section) if terms.role != "view" else ()
    extensions = _extensions(section, codecs, rids)
    rtx = _rtx(section, codecs)
    return Agreed(
        index=section.index,
        mid=section.mid,
        named=section.named,
        kind=section.kind,
        protocol=section.protocol,
        formats=section.formats,
        direction=direction,
        codecs=codecs,
        rtx=rtx,
        extensions=extensions,
        receive=_receive(section, codecs, _one_way(section, extensions, "sendonly"), rtx, rids) if receives else None,
        send=_slot(section, codecs, _one_way(section, extensions, "recvonly"), rtx, terms) if sends else None,
        one_way={uri: _REVERSED[way] for uri, way in section.one_way.items() if uri in extensions},
        rids=rids,
    )


def _direction(offered: Direction, role: Role) -> Direction:
    sends = role != "pub" and offered in {"sendrecv", "recvonly"}
    receives = role != "view" and offered in {"sendrecv", "sendonly"}
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def _codecs(section: Section, terms: _Terms, *, all_of_them: bool) -> tuple[Codec, ...]:
    """Returns the codecs of the answer, best first: all if we send, else one.

    With several, browsers would send the first, but other peers any of them.
    """
    ordered = by_preference(_servable(section.codecs), terms.preference)
    chosen = ordered if all_of_them else ordered[:1]
    # transport-cc reports on transport-wide sequence numbers. We do not number what we send, since packets are the same
    # for all viewers; a viewer reports the capacity of its link by REMB.
    congestion = not all_of_them and _offers(section, TRANSPORT_CC)
    wanted = (*FEEDBACK, "transport-cc") if congestion else FEEDBACK
    return tuple(replace(codec, feedback=tuple(line for line in wanted if line in codec.feedback)) for codec in chosen)


def _rtx(section: Section, codecs: Sequence[Codec]) -> dict[int, int]:
    """Returns payload types of the chosen codecs -> payload types of their retransmissions (of several, the last)."""
    chosen = {codec.payload_type for codec in codecs}
    return {repaired: number for number, repaired in section.rtx.items() if repaired in chosen}


def _rids(section: Section) -> tuple[str, ...]:
    """Returns the layers to ask for; empty if packets cannot name their layer (no RID extension).

    Also while the section is paused: a browser that is not answered with its layers loses them for good.
    """
    named = _offers(section, RID) and section.one_way.get(RID, "sendonly") == "sendonly"
    return section.rids if section.kind == "video" and named else ()


def _extensions(section: Section, codecs: Sequence[Codec], rids: Sequence[str]) -> Mapping[str, int]:
    wanted = [uri for uri in EXTENSIONS if section.named or uri != MID]
    if any("transport-cc" in codec.feedback for codec in codecs):
        wanted.append(TRANSPORT_CC)
    if rids:
        wanted += [RID, REPAIRED_RID]
    return {uri: section.extensions[uri] for uri in wanted if _offers(section, uri)}


def _one_way(section: Section, extensions: Mapping[str, int], way: Direction) -> Mapping[str, int]:
    """Returns the extensions that the peer offers to use in both directions or in the given one."""
    return {uri: number for uri, number in extensions.items() if section.one_way.get(uri, way) == way}


def _offers(section: Section, uri: str) -> bool:
    return section.extensions.get(uri) in _EXTENSION_IDS


def _receive(
    section: Section,
    codecs: tuple[Codec, ...],
    extensions: Mapping[str, int],
    rtx: Mapping[int, int],
    rids: tuple[str, ...],
) -> Receive:
    return Receive(
        codecs=codecs,
        extensions=extensions,
        ssrcs=section.ssrcs,
        stream=section.stream,
        track=section.track,
        rtx={number: repaired for repaired, number in rtx.items()},
        repairs=section.repairs if rtx else {},
        rids=rids,
    )


def _slot(
    section: Section,
    codecs: tuple[Codec, ...],
    extensions: Mapping[str, int],
    rtx: Mapping[int, int],
    terms: _Terms,
) -> Send:
    """Returns the slot of a section. The k-th of each kind belongs to window k, whose sound and picture are in sync."""
    terms.windows[section.kind] += 1
    stream = f"window-{terms.windows[section.kind]}"
    ssrc, rtx_ssrc = terms.ssrc(section.mid), terms.ssrc(f"{section.mid} rtx")
    return Send(codecs, extensions, ssrc, stream, f"{stream}-{section.kind}", rtx, rtx_ssrc if rtx else None)


def _bundle(offer: Description, served: Sequence[Section]) -> tuple[str, ...] | None:
    if offer.bundle is None:
        return None
    mids = {section.mid for section in served}
    return tuple(mid for mid in dict.fromkeys(offer.bundle) if mid in mids)


def _transport(offer: Description, served: Sequence[Section]) -> TransportParameters:
    """Returns the transport of the first served section in BUNDLE order (RFC 9143 section 7.3.1)."""
    by_mid = {section.mid: section for section in served}
    ordered = [by_mid[mid] for mid in _bundle(offer, served) or by_mid]
    return next((section.transport for section in ordered if section.transport.complete), offer.transport)
