"""A peer's SDP text to values (RFC 8866, RFC 8829). Our own text is written by `sfu.rtc.sdp.write`.

Owns the limits of incoming descriptions and the only place where their text is parsed, by `aiortc.sdp`. Never decides
what to accept: that is `sfu.rtc.sdp.negotiate`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription

from sfu.rtc.sdp.codec import CANONICAL, Codec
from sfu.rtc.sdp.description import (
    Description,
    Direction,
    SdpError,
    Section,
    Setup,
    TransportParameters,
)
from sfu.rtc.sdp.dialects import Head, normalize

MAX_LENGTH = 65536  # characters
MAX_SECTIONS = 64

_ROLE_SETUP: dict[str, Setup] = {"auto": "actpass", "client": "active", "server": "passive"}
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2})+")
_DIGESTS = ("sha-256", "sha-384", "sha-512")
_FORMAT_LINES = ("a=rtpmap:", "a=fmtp:", "a=rtcp-fb:")
_REPAIR_GROUPS = ("FID", "FEC-FR")


def parse_description(text: str) -> Description:
    """Returns an offer or answer as values.

    Raises SdpError and no other exception: "too_large" above 65,536 characters or 64 sections, checked before anything
    is parsed; "codec" if every section is switched off; "bad_request" for every other text that cannot be used.
    """
    if len(text) > MAX_LENGTH:
        raise SdpError("too_large", f"the session description is longer than {MAX_LENGTH} characters")
    if sum(line.startswith("m=") for line in text.splitlines()) > MAX_SECTIONS:
        raise SdpError("too_large", f"the session description has more than {MAX_SECTIONS} sections")
    try:
        normalized, heads = normalize(text)
        return _description(_parsed(normalized), heads)
    except SdpError:
        raise
    except Exception as error:
        # aiortc.sdp raises many kinds of exceptions, AssertionError without a message included.
        raise SdpError("bad_request", f"not a session description ({type(error).__name__})") from error


def _parsed(text: str) -> SessionDescription:
    """Returns the normalized text as aiortc parses it.

    Lists of formats, the greater part of an offer, are parsed once and then taken from a cache.
    """
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
    """Returns payload types of retransmissions -> payload types of known codecs (RFC 4588 section 8.6)."""
    formats = {codec.payload_type for codec in codecs}
    pairs = ((c.payloadType or 0, c.parameters.get("apt")) for c in media.rtp.codecs if c.name.lower() == "rtx")
    return {number: repaired for number, repaired in pairs if repaired in formats}


def _repairs(media: MediaDescription) -> dict[int, int]:
    """Returns SSRCs of retransmissions -> SSRCs that they repair (RFC 5576 section 4.2)."""
    groups = (list(map(int, group.items)) for group in media.ssrc_group if group.semantic == "FID")
    return {group[1]: group[0] for group in groups if len(group) == 2 and max(group) < 1 << 32}


def _primary_ssrcs(media: MediaDescription) -> tuple[int, ...]:
    """Returns the SSRCs in order, without those that only repair another (RFC 5576 section 4.2, RFC 8627)."""
    repair = {ssrc for group in media.ssrc_group if group.semantic in _REPAIR_GROUPS for ssrc in group.items[1:]}
    return tuple(source.ssrc for source in media.ssrc if source.ssrc not in repair and source.ssrc < 1 << 32)


def _msid(media: MediaDescription) -> tuple[str | None, str | None]:
    """Returns stream and track (RFC 8830), from the section or, for older peers, from an SSRC; "-" is no stream."""
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
