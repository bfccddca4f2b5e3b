"""A peer's SDP text to values (RFC 8866, RFC 8829). Our own text is written by `sfu.rtc.sdp.write`.

Owns the limits of incoming descriptions. Takes time in proportion to the text: offers are read in the event loop, and
anybody may write one. Never decides what to accept: that is `sfu.rtc.sdp.negotiate`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast, get_args

from sfu.rtc.sdp.description import (
    EXTENSIONS,
    REPAIRED_RID,
    RID,
    TRANSPORT_CC,
    Description,
    Direction,
    SdpError,
    Section,
    Setup,
    TransportParameters,
)
from sfu.rtc.sdp.dialects import Attributes, Part, last, matches, media_line, parts, rids
from sfu.rtc.sdp.formats import read_formats

MAX_LENGTH = 65536  # characters
MAX_SECTIONS = 64
MAX_LINES = 4096
"""Browsers write 40 characters a line, so their longest offers have 1,700."""

_DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
_KNOWN_EXTENSIONS = frozenset((*EXTENSIONS, TRANSPORT_CC, RID, REPAIRED_RID))
_DIGESTS = ("sha-256", "sha-384", "sha-512")
_MAX_FINGERPRINTS = 8
_MAX_CANDIDATES = 64
_REPAIR_GROUPS = ("FID", "FEC-FR")

_EXTENSION = re.compile(r"([0-9]{1,5})(?:/(\w+))? +([!-~]+)(?: .*)?")
_FINGERPRINT = re.compile(r"([!-~]+) +([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+)")
_GROUP = re.compile(r"([!-~]+)((?: +[!-~]+)*)")
_MID = re.compile(r"[!-~]{1,64}")
_MSID = re.compile(r"[!-~]{1,256}(?: [!-~]{1,256})?")
_PWD = re.compile(r"[!-~]{22,256}")
_SETUP = re.compile(r"actpass|active|passive")
_SSRC = re.compile(r"([0-9]{1,10})(?: +([!-9;-~]+):(.*)| .*)?")
_SSRC_GROUP = re.compile(r"([!-~]+)((?: +[0-9]{1,10})+)")
_UFRAG = re.compile(r"[!-9;-~]{4,256}")


def parse_description(text: str) -> Description:
    """Returns an offer or answer as values.

    Raises SdpError and no other exception: "too_large" above 65,536 characters, 4,096 lines or 64 sections, checked
    before anything is parsed; "codec" if every section is switched off; "bad_request" for every other text that cannot
    be used.
    """
    if len(text) > MAX_LENGTH:
        raise SdpError("too_large", f"the session description is longer than {MAX_LENGTH} characters")
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise SdpError("too_large", f"the session description has more than {MAX_LINES} lines")
    if sum(line.startswith("m=") for line in lines) > MAX_SECTIONS:
        raise SdpError("too_large", f"the session description has more than {MAX_SECTIONS} sections")
    session, *media = parts(lines)
    inherited = _Inherited(session.attributes)
    try:
        sections = tuple(_section(index, part, inherited) for index, part in enumerate(media))
    except ValueError as error:
        raise SdpError("bad_request", f"not a session description ({error})") from error
    return _description(session, sections)


class _Inherited:
    """The values of the session part that count for each section, unless the section has its own."""

    def __init__(self, attributes: Attributes) -> None:
        self.ufrag = last(_UFRAG, attributes.get("ice-ufrag", ())) or ""
        self.pwd = last(_PWD, attributes.get("ice-pwd", ())) or ""
        self.fingerprints = _fingerprints(attributes)
        # A peer that names no DTLS role can take either.
        self.setup = last(_SETUP, attributes.get("setup", ())) or "actpass"
        self.direction = _direction(attributes, "sendrecv")
        self.extensions = _extensions(attributes)


def _description(session: Part, sections: tuple[Section, ...]) -> Description:
    if not sections:
        raise SdpError("bad_request", "the session description has no section")
    if len({section.mid for section in sections}) < len(sections):
        raise SdpError("bad_request", "two sections have the same mid")
    groups = [match[2] for match in matches(_GROUP, session.attributes.get("group", ())) if match[1] == "BUNDLE"]
    return Description(
        origin=session.first.removeprefix("o=").strip(),
        sections=sections,
        bundle=tuple(groups[0].split()) if groups else None,
        ice_lite="ice-lite" in session.attributes,
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


def _section(index: int, part: Part, inherited: _Inherited) -> Section:
    media, attributes = media_line(part.first), part.attributes
    mid = last(_MID, attributes.get("mid", ()))
    formats = read_formats(media, attributes)
    sources = matches(_SSRC, attributes.get("ssrc", ()))
    groups = [(match[1], [int(item) for item in match[2].split()]) for match in _groups(attributes)]
    stream, track = _msid(attributes, sources)
    extensions = {**inherited.extensions, **_extensions(attributes)}
    return Section(
        index=index,
        mid=mid or str(index),
        named=mid is not None,
        kind=media.kind,
        protocol=media.protocol,
        formats=media.formats,
        direction=_direction(attributes, inherited.direction),
        rejected=media.port == 0 and "bundle-only" not in attributes,
        rtcp_mux="rtcp-mux" in attributes,
        codecs=formats.codecs,
        rtx=formats.rtx,
        extensions={uri: number for uri, (number, _) in extensions.items()},
        one_way={uri: direction for uri, (_, direction) in extensions.items() if direction != "sendrecv"},
        ssrcs=_primary_ssrcs(sources, groups),
        repairs=_repairs(groups),
        rids=rids(attributes),
        cname=_source_value(sources, "cname"),
        stream=stream,
        track=track,
        transport=_transport(attributes, inherited),
    )


def _direction(attributes: Attributes, default: Direction) -> Direction:
    """Returns the direction of a section, or that of the session; there should be one line for it at most."""
    return next((each for each in _DIRECTIONS if each in attributes), default)


def _extensions(attributes: Attributes) -> dict[str, tuple[int, Direction]]:
    """Returns the id and the direction of each known header extension (RFC 8285 section 5)."""
    return {
        match[3]: (int(match[1]), cast("Direction", match[2]) if match[2] in _DIRECTIONS else "sendrecv")
        for match in matches(_EXTENSION, attributes.get("extmap", ()))
        if match[3] in _KNOWN_EXTENSIONS
    }


def _groups(attributes: Attributes) -> list[re.Match[str]]:
    return matches(_SSRC_GROUP, attributes.get("ssrc-group", ()))


def _repairs(groups: Sequence[tuple[str, list[int]]]) -> dict[int, int]:
    """Returns SSRCs of retransmissions -> SSRCs that they repair (RFC 5576 section 4.2)."""
    pairs = [ssrcs for semantic, ssrcs in groups if semantic == "FID" and len(ssrcs) == 2]
    return {repair: primary for primary, repair in pairs if max(primary, repair) < 1 << 32}


def _primary_ssrcs(sources: Sequence[re.Match[str]], groups: Sequence[tuple[str, list[int]]]) -> tuple[int, ...]:
    """Returns the SSRCs in order, without those that only repair another (RFC 5576 section 4.2, RFC 8627)."""
    repair = {ssrc for semantic, ssrcs in groups if semantic in _REPAIR_GROUPS for ssrc in ssrcs[1:]}
    ssrcs = dict.fromkeys(int(source[1]) for source in sources)
    return tuple(ssrc for ssrc in ssrcs if ssrc not in repair and ssrc < 1 << 32)


def _source_value(sources: Sequence[re.Match[str]], name: str) -> str | None:
    return next((source[3] for source in sources if source[2] == name and source[3]), None)


def _msid(attributes: Attributes, sources: Sequence[re.Match[str]]) -> tuple[str | None, str | None]:
    """Returns stream and track (RFC 8830), from the section or, for older peers, from an SSRC; "-" is no stream."""
    value = last(_MSID, attributes.get("msid", ())) or _source_value(sources, "msid") or "-"
    stream, _, track = value.strip().partition(" ")
    return (None if stream == "-" else stream), (track or None)


def _transport(attributes: Attributes, inherited: _Inherited) -> TransportParameters:
    fingerprints = (*inherited.fingerprints, *_fingerprints(attributes))
    setup = last(_SETUP, attributes.get("setup", ())) or inherited.setup
    return TransportParameters(
        ufrag=last(_UFRAG, attributes.get("ice-ufrag", ())) or inherited.ufrag,
        pwd=last(_PWD, attributes.get("ice-pwd", ())) or inherited.pwd,
        fingerprints=tuple(dict.fromkeys(fingerprints)),
        setup=cast("Setup", setup),
        candidates=tuple(f"candidate:{value}" for value in attributes.get("candidate", ())[:_MAX_CANDIDATES]),
        end_of_candidates="end-of-candidates" in attributes,
    )


def _fingerprints(attributes: Attributes) -> tuple[tuple[str, str], ...]:
    """Returns (algorithm, value) of the certificates whose hash can be trusted (RFC 8122 section 5)."""
    values = matches(_FINGERPRINT, attributes.get("fingerprint", ()))
    pairs = ((match[1].lower(), match[2].upper()) for match in values)
    return tuple(pair for pair in pairs if pair[0] in _DIGESTS)[:_MAX_FINGERPRINTS]
