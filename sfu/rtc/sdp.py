"""SDP text to values and back (RFC 8866, RFC 8829): what a peer's description says, and how ours is written.

Owns the limits put on incoming descriptions and the only place where their text is parsed, by `aiortc.sdp`. Never
decides what to accept: that is `sfu.rtc.negotiation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, cast

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription

from sfu.rtc.codec import CANONICAL, Codec
from sfu.rtc.description import (
    CNAME,
    Agreed,
    Description,
    Direction,
    Local,
    Negotiated,
    OfferSection,
    SdpError,
    Section,
    Setup,
    TransportParameters,
)
from sfu.rtc.dialects import Head, normalize

__all__ = [
    "Description",
    "Direction",
    "Local",
    "OfferSection",
    "SdpError",
    "Section",
    "TransportParameters",
    "parse",
    "write_answer",
    "write_offer",
]

MAX_LENGTH = 65536
MAX_SECTIONS = 64

_ROLE_SETUP: dict[str, Setup] = {"auto": "actpass", "client": "active", "server": "passive"}
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2})+")
_DIGESTS = ("sha-256", "sha-384", "sha-512")
_FORMAT_LINES = ("a=rtpmap:", "a=fmtp:", "a=rtcp-fb:")
_REPAIR_GROUPS = ("FID", "FEC-FR")

# From so many codecs on, feedback that all of them have is written once, for "*" (RFC 4585 section 4.2), to stay small.
# Only Chromium offers as many (Firefox has 5); libdatachannel refuses a description with "*".
_MANY_CODECS = 8

# fmtp parameters that an answer repeats: those that must agree (RFC 6184 section 8.2.2 and its like) and, for opus,
# what the sender should do. A sender's own declarations (sprop-...) are not ours to repeat.
_ANSWERED_PARAMETERS = {
    "H264": ("level-asymmetry-allowed", "packetization-mode", "profile-level-id"),
    "VP9": ("profile-id",),
    "AV1": ("level-idx", "profile", "tier"),
    "H265": ("level-id", "profile-id", "tier-flag", "tx-mode"),
    "opus": ("minptime", "useinbandfec", "stereo"),
}


def parse(sdp: str) -> Description:
    """What an offer or answer says.

    Raises SdpError only: "too_large" above 64 KiB or 64 sections, looked at before anything is parsed; "codec" when
    every section is switched off; "bad_request" for everything else that cannot be understood.
    """
    if len(sdp) > MAX_LENGTH:
        raise SdpError("too_large", f"the session description is longer than {MAX_LENGTH} characters")
    if sum(line.startswith("m=") for line in sdp.splitlines()) > MAX_SECTIONS:
        raise SdpError("too_large", f"the session description has more than {MAX_SECTIONS} sections")
    try:
        text, heads = normalize(sdp)
        return _description(_parsed(text), heads)
    except SdpError:
        raise
    except Exception as error:
        # aiortc.sdp raises whatever happens to it, bare AssertionError included.
        raise SdpError("bad_request", f"not a session description ({type(error).__name__})") from error


def _parsed(text: str) -> SessionDescription:
    """What aiortc makes of the one dialect; it reads each list of formats, most of any offer, the first time only."""
    lines: list[str] = []
    formats: list[list[str]] = []
    for line in text.split("\r\n"):
        if line.startswith("m="):
            formats.append([line])
        if formats and line.startswith(_FORMAT_LINES):
            formats[-1].append(line)
        else:
            lines.append(line)
    session = SessionDescription.parse("\r\n".join(lines))
    for media, own in zip(session.media, formats, strict=True):
        media.rtp.codecs = _formats(tuple(own))
    return session


@lru_cache(maxsize=64)
def _formats(lines: tuple[str, ...]) -> list[RTCRtpCodecParameters]:
    return SessionDescription.parse("\r\n".join(lines)).media[0].rtp.codecs


def write_answer(negotiated: Negotiated, local: Local, *, session_id: int, version: int) -> str:
    """Our answer, complete with all candidates. `version` must grow from one answer of a session to the next."""
    first = next(section for section in negotiated.sections if section.rejected is None)
    lines = _session_lines(local, negotiated.bundle, session_id, version)
    for section in negotiated.sections:
        if section.rejected is not None:
            lines += _rejected_lines(section, local, negotiated.setup)
            continue
        lines += _media_lines(section.kind, section.protocol, section.direction, section.codecs, section.rtx)
        lines += _identity_lines(section.mid if section.named else None, section.extensions.items())
        send, receive = section.send, section.receive
        if send is not None:
            lines += _source_lines(send.ssrc, send.rtx_ssrc, f"{send.stream} {send.track}", CNAME)
        lines += _codecs_lines(section.codecs, section.rtx, answered=True)
        if receive is not None:
            lines += _layer_lines(receive.rids, "recv")
        lines += _transport_lines(local, negotiated.setup, candidates=section is first)
    return _text(lines)


def write_offer(sections: Sequence[OfferSection], local: Local, *, session_id: int, version: int) -> str:
    """An offer of one of our own client peers: everything in one BUNDLE, complete with all candidates."""
    lines = _session_lines(local, tuple(section.mid for section in sections), session_id, version)
    for section in sections:
        lines += _media_lines(section.kind, "UDP/TLS/RTP/SAVPF", section.direction, section.codecs, section.rtx)
        lines += _identity_lines(section.mid, section.extensions.items())
        if section.ssrc is not None:
            msid = f"{section.stream or '-'} {section.track or section.mid}"
            lines += _source_lines(section.ssrc, section.rtx_ssrc, msid, section.cname)
        lines += _codecs_lines(section.codecs, section.rtx, answered=False)
        lines += _layer_lines(section.rids, "send")
        lines += _transport_lines(local, "actpass", candidates=section is sections[0])
    return _text(lines)


def _description(session: SessionDescription, heads: Sequence[Head]) -> Description:
    pairs = zip(session.media, heads, strict=True)
    sections = tuple(_section(index, media, head) for index, (media, head) in enumerate(pairs))
    if not sections:
        raise SdpError("bad_request", "the session description has no section")
    if len({section.mid for section in sections}) < len(sections):
        raise SdpError("bad_request", "two sections have the same mid")
    groups = [tuple(map(str, group.items)) for group in session.group if group.semantic == "BUNDLE"]
    return Description(
        origin=session.origin or "",
        sections=sections,
        bundle=groups[0] if groups else None,
        ice_lite=any(media.ice is not None and media.ice.iceLite for media in session.media),
        transport=_first_transport(sections),
    )


def _first_transport(sections: Sequence[Section]) -> TransportParameters:
    usable = [section for section in sections if not section.rejected]
    if not usable:
        raise SdpError("codec", "every section is switched off")
    transport = next((section.transport for section in usable if section.transport.complete), None)
    if transport is None:
        raise SdpError("bad_request", "no section has ICE credentials and a certificate fingerprint")
    return transport


def _section(index: int, media: MediaDescription, head: Head) -> Section:
    stream, track = _msid(media)
    codecs = _codecs(media)
    return Section(
        index=index,
        mid=media.rtp.muxId or str(index),
        named=bool(media.rtp.muxId),
        kind=head.kind,
        protocol=head.protocol,
        formats=head.formats,
        direction=cast("Direction", media.direction or "sendrecv"),
        rejected=head.port == 0 and not head.bundle_only,
        rtcp_mux=media.rtcp_mux,
        codecs=codecs,
        rtx=_rtx(media, codecs),
        extensions={extension.uri: extension.id for extension in media.rtp.headerExtensions},
        ssrcs=_primary_ssrcs(media),
        repairs=_repairs(media),
        rids=head.rids,
        cname=next((source.cname for source in media.ssrc if source.cname), None),
        stream=stream,
        track=track,
        transport=_transport(media, head),
    )


def _codecs(media: MediaDescription) -> tuple[Codec, ...]:
    codecs = []
    for parameters in media.rtp.codecs:
        name = CANONICAL.get(parameters.name.lower())
        if name is None:
            continue
        codec = Codec(
            name=name,
            clock_rate=parameters.clockRate,
            channels=parameters.channels or 1,
            payload_type=parameters.payloadType or 0,
            parameters=tuple(
                (key, "" if value is None else str(value)) for key, value in parameters.parameters.items()
            ),
            feedback=tuple(" ".join(filter(None, (fb.type, fb.parameter))) for fb in parameters.rtcpFeedback),
        )
        if codec.kind == media.kind:
            codecs.append(codec)
    return tuple(codecs)


def _rtx(media: MediaDescription, codecs: Sequence[Codec]) -> dict[int, int]:
    """RFC 4588 section 8.6: payload types of retransmissions -> those of our codecs they repair."""
    formats = {codec.payload_type for codec in codecs}
    pairs = ((c.payloadType or 0, c.parameters.get("apt")) for c in media.rtp.codecs if c.name.lower() == "rtx")
    return {number: repaired for number, repaired in pairs if repaired in formats}


def _repairs(media: MediaDescription) -> dict[int, int]:
    """SSRCs of retransmissions -> those they repair (RFC 5576 section 4.2)."""
    groups = (list(map(int, group.items)) for group in media.ssrc_group if group.semantic == "FID")
    return {group[1]: group[0] for group in groups if len(group) == 2 and max(group) < 1 << 32}


def _primary_ssrcs(media: MediaDescription) -> tuple[int, ...]:
    """The SSRCs in order, without those that only repair another (RFC 5576 section 4.2, RFC 8627)."""
    repair = {ssrc for group in media.ssrc_group if group.semantic in _REPAIR_GROUPS for ssrc in group.items[1:]}
    return tuple(source.ssrc for source in media.ssrc if source.ssrc not in repair and source.ssrc < 1 << 32)


def _msid(media: MediaDescription) -> tuple[str | None, str | None]:
    """Stream and track (RFC 8830), from the section or, in older peers, from an SSRC; "-" is no stream."""
    value = media.msid or next((source.msid for source in media.ssrc if source.msid), None) or "-"
    stream, _, track = value.strip().partition(" ")
    return (None if stream == "-" else stream), (track or None)


def _transport(media: MediaDescription, head: Head) -> TransportParameters:
    if media.ice is None or media.dtls is None:
        raise SdpError("bad_request", "a section without transport")
    pairs = [(fingerprint.algorithm.lower(), fingerprint.value.upper()) for fingerprint in media.dtls.fingerprints]
    usable = [pair for pair in pairs if pair[0] in _DIGESTS and _FINGERPRINT.fullmatch(pair[1])]
    return TransportParameters(
        ufrag=media.ice.usernameFragment or "",
        pwd=media.ice.password or "",
        fingerprints=tuple(dict.fromkeys(usable)),
        setup=_ROLE_SETUP[media.dtls.role],
        candidates=head.candidates,
        end_of_candidates=head.end_of_candidates,
    )


def _session_lines(local: Local, bundle: Sequence[str] | None, session_id: int, version: int) -> list[str]:
    lines = ["v=0", f"o=- {session_id} {version} IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if bundle is not None:
        lines.append(f"a=group:BUNDLE {' '.join(bundle)}")
    if local.lite:
        lines.append("a=ice-lite")
    return [*lines, "a=ice-options:trickle", "a=msid-semantic:WMS *"]


def _rejected_lines(section: Agreed, local: Local, setup: Setup) -> list[str]:
    """Port 0 (RFC 3264 section 6). aiortc refuses an answer with a section, even so, without ICE, role and rtcp-mux."""
    lines = [f"m={section.kind} 0 {section.protocol} {section.formats[0]}", "c=IN IP4 0.0.0.0", "a=inactive"]
    lines += _identity_lines(section.mid if section.named else None, ())
    lines += [f"a=ice-ufrag:{local.ufrag}", f"a=ice-pwd:{local.pwd}", f"a=setup:{setup}"]
    return [*lines, "a=rtcp-mux"] if section.kind in {"audio", "video"} else lines


def _media_lines(
    kind: str, protocol: str, direction: Direction, codecs: Sequence[Codec], rtx: Mapping[int, int]
) -> list[str]:
    numbers = [codec.payload_type for codec in codecs]
    payload_types = " ".join(map(str, [*numbers, *(rtx[number] for number in numbers if number in rtx)]))
    return [f"m={kind} 9 {protocol} {payload_types}", "c=IN IP4 0.0.0.0", f"a={direction}", "a=rtcp-mux"]


def _identity_lines(mid: str | None, extensions: Iterable[tuple[str, int]]) -> list[str]:
    lines = [] if mid is None else [f"a=mid:{mid}"]
    return [*lines, *(f"a=extmap:{number} {uri}" for uri, number in extensions)]


def _source_lines(ssrc: int, rtx_ssrc: int | None, msid: str, cname: str) -> list[str]:
    lines = [f"a=msid:{msid}"]
    if rtx_ssrc is not None:
        lines.append(f"a=ssrc-group:FID {ssrc} {rtx_ssrc}")
    for each in (ssrc, rtx_ssrc):
        if each is not None:
            lines += [f"a=ssrc:{each} cname:{cname}", f"a=ssrc:{each} msid:{msid}"]
    return lines


def _layer_lines(rids: Sequence[str], direction: Literal["send", "recv"]) -> list[str]:
    lines = [f"a=rid:{rid} {direction}" for rid in rids]
    return [*lines, f"a=simulcast:{direction} {';'.join(rids)}"] if rids else []


def _codecs_lines(codecs: Sequence[Codec], rtx: Mapping[int, int], *, answered: bool) -> list[str]:
    same = len(codecs) >= _MANY_CODECS and len({codec.feedback for codec in codecs}) == 1
    common = codecs[0].feedback if same else ()
    lines = [f"a=rtcp-fb:* {value}" for value in common]
    for codec in codecs:
        lines += _codec_lines(codec, () if common else codec.feedback, answered=answered)
        if (number := rtx.get(codec.payload_type)) is not None:
            lines += [f"a=rtpmap:{number} rtx/{codec.clock_rate}", f"a=fmtp:{number} apt={codec.payload_type}"]
    return lines


def _codec_lines(codec: Codec, feedback: Sequence[str], *, answered: bool) -> list[str]:
    number = codec.payload_type
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    lines = [f"a=rtpmap:{number} {codec.name}/{codec.clock_rate}{channels}"]
    lines += [f"a=rtcp-fb:{number} {value}" for value in feedback]
    names = _ANSWERED_PARAMETERS.get(codec.name, ())
    pairs = [pair for pair in codec.parameters if not answered or pair[0].lower() in names]
    if pairs:
        lines.append(f"a=fmtp:{number} {';'.join(f'{name}={value}' if value else name for name, value in pairs)}")
    return lines


def _transport_lines(local: Local, setup: Setup, *, candidates: bool) -> list[str]:
    """ICE and DTLS stand in every section, since some peers look for them there; candidates once, to stay small."""
    lines = [f"a=ice-ufrag:{local.ufrag}", f"a=ice-pwd:{local.pwd}", f"a=fingerprint:sha-256 {local.fingerprint}"]
    lines.append(f"a=setup:{setup}")
    if candidates:
        lines += [f"a=candidate:{candidate.removeprefix('candidate:')}" for candidate in local.candidates]
        lines.append("a=end-of-candidates")
    return lines


def _text(lines: Sequence[str]) -> str:
    return "\r\n".join(lines) + "\r\n"
