"""What is agreed with a peer that offers: which sections are served, in which direction, with which codecs.

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

# RFC 8829 section 5.1.2: all of these mean DTLS-SRTP when a fingerprint comes along.
_PROTOCOL = re.compile(r"(UDP/TLS/|TCP/DTLS/)?RTP/S?AVPF?", re.IGNORECASE)
# RFC 8285 section 4.2: ids that fit the one-byte header, the only form we negotiate.
_EXTENSION_IDS = range(1, 15)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What `negotiate` was told, and the windows counted so far, by kind."""

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
    """The answer to an offer, as decisions.

    A `pub` peer is only received from and told the one codec to send; a `view` peer is only sent to; a `join` peer
    both. `preference` are codec names, best first (unnamed ones come after). `ssrc` gives the SSRC of a section we
    send in, by mid, and must give the same one on every re-offer; it is then asked for "MID rtx", that of the section's
    retransmissions, whether the peer takes any or not: the k-th section has the same two for every peer.
    Raises SdpError("codec") when no section can be served.
    """
    refusals = _refusals(offer)
    served = [section for section in offer.sections if section.index not in refusals]
    if not served:
        reasons = ", ".join(f"{section.mid}: {refusals[section.index]}" for section in offer.sections)
        raise SdpError("codec", f"no section can be served ({reasons})")
    terms = _Terms(role, preference, ssrc)
    sections = tuple(
        _rejected(section, refusals[section.index]) if section.index in refusals else _agreed(section, terms)
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
    """Why sections cannot be served, by index: themselves first, then as strangers to the one transport."""
    refusals = {section.index: reason for section in offer.sections if (reason := _refusal(section))}
    candidates = [section for section in offer.sections if section.index not in refusals]
    if offer.bundle is not None:
        return refusals | {section.index: "bundle" for section in candidates if section.mid not in offer.bundle}
    complete = [section.transport for section in candidates if section.transport.complete]
    credentials = {(transport.ufrag, transport.pwd) for transport in complete[:1]}
    strangers = [
        section for section in candidates if (section.transport.ufrag, section.transport.pwd) not in credentials
    ]
    return refusals | {section.index: "bundle" for section in strangers}


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
    """Without H.264 in interleaved mode, which orders packets in a way no viewer was told about."""
    return [codec for codec in codecs if codec.name != "H264" or packetization_mode(codec) in {0, 1}]


def _rejected(section: Section, reason: str) -> Agreed:
    return Agreed(
        index=section.index,
        mid=section.mid,
        named=section.named,
        kind=section.kind,
        protocol=section.protocol,
        formats=section.formats,
        direction="inactive",
        rejected=reason,
    )


def _agreed(section: Section, terms: _Terms) -> Agreed:
    direction = _direction(section.direction, terms.role)
    sends, receives = direction in {"sendrecv", "sendonly"}, direction in {"sendrecv", "recvonly"}
    codecs = _codecs(section, terms, all_of_them=sends)
    rids = _rids(section) if receives else ()
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
        receive=_receive(section, codecs, extensions, rtx, rids) if receives else None,
        send=_slot(section, codecs, extensions, rtx, terms) if sends else None,
    )


def _direction(offered: Direction, role: Role) -> Direction:
    sends = role != "pub" and offered in {"sendrecv", "recvonly"}
    receives = role != "view" and offered in {"sendrecv", "sendonly"}
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def _codecs(section: Section, terms: _Terms, *, all_of_them: bool) -> tuple[Codec, ...]:
    """Best first. Where nothing is sent one is answered: a browser sends the first, others any of those answered."""
    ordered = by_preference(_servable(section.codecs), terms.preference)
    chosen = ordered if all_of_them else ordered[:1]
    # transport-cc means nothing without the numbers that it reports on, and we number nothing that we send: packets
    # are the same for all viewers, who tell us what their links carry by REMB
    wide = not all_of_them and _offers(section, TRANSPORT_CC)
    wanted = (*FEEDBACK, "transport-cc") if wide else FEEDBACK
    return tuple(replace(codec, feedback=tuple(line for line in wanted if line in codec.feedback)) for codec in chosen)


def _rtx(section: Section, codecs: Sequence[Codec]) -> dict[int, int]:
    """Payload types of the chosen codecs -> those of their retransmissions; of several, the last."""
    chosen = {codec.payload_type for codec in codecs}
    return {repaired: number for number, repaired in section.rtx.items() if repaired in chosen}


def _rids(section: Section) -> tuple[str, ...]:
    """The layers to ask for: none if packets cannot say which one they are of."""
    return section.rids if section.kind == "video" and _offers(section, RID) else ()


def _extensions(section: Section, codecs: Sequence[Codec], rids: Sequence[str]) -> Mapping[str, int]:
    wanted = [uri for uri in EXTENSIONS if section.named or uri != MID]
    if any("transport-cc" in codec.feedback for codec in codecs):
        wanted.append(TRANSPORT_CC)
    if rids:
        wanted += [RID, REPAIRED_RID]
    return {uri: section.extensions[uri] for uri in wanted if _offers(section, uri)}


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
    """The k-th sending section of a kind is part of window k, so that a window's sound and picture play together."""
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
    """That of the first served section in BUNDLE order (RFC 9143 section 7.3.1)."""
    by_mid = {section.mid: section for section in served}
    ordered = [by_mid[mid] for mid in _bundle(offer, served) or by_mid]
    return next((section.transport for section in ordered if section.transport.complete), offer.transport)
