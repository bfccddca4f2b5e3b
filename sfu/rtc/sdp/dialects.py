"""The SDP dialects of real peers, rewritten into the one that `aiortc.sdp` parses.

Owns the differences between browsers, GStreamer, Pion and embedded senders: profiles in lower case, formats without
rtpmap, attributes on session level, SSRC lines without attribute, padded fmtp, bundle-only sections. Leaves out lines
that are malformed or not needed; `Head` keeps candidates as they are. Never decides what is served.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiortc.sdp import DIRECTIONS, FMTP_INT_PARAMETERS

from sfu.rtc.sdp.codec import CANONICAL

# RFC 3551 section 6: payload types that need no rtpmap.
_STATIC_FORMATS = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000"}

# RFC 5761 section 4: payload types that look like RTCP on a shared port.
_RTCP_CONFLICTS = range(64, 96)

_MEDIA_LINE = re.compile(r"m=([!-~]{1,32}) +(\d{1,5})(?:/\d+)? +([!-~]{1,64})((?: +[!-~]{1,64})+) *")

# RFC 8851 section 10, RFC 8853 section 5.1. A longer rid does not fit a one-byte header extension (RFC 8285 section
# 4.2). Rids that are bound to payload types (pt=) are not supported.
_RID = re.compile(r"([A-Za-z0-9_-]{1,16}) +send(?: +(?!(?:.*;)?pt=).*)?")
_SIMULCAST = re.compile(r"(?:recv +[!-~]+ +)?send +([!-~]+)(?: +recv +[!-~]+)?")
_MAX_RIDS = 4

# Lines of one section that are read, more than any peer writes. Bounded, since aiortc.sdp searches SSRCs in a list.
_MAX_LINES = 512

# The attributes that are kept: the pattern of their value, and the template that its groups are written with.
_SHAPES = {
    "extmap": (re.compile(r"(\d{1,5})(?:/\w+)? +([!-~]+)(?: .*)?"), "{0} {1}"),
    "fingerprint": (re.compile(r"([!-~]+) +([!-~]+)"), "{0} {1}"),
    "group": (re.compile(r"([!-~]+)((?: +[!-~]+)*)"), "{0}{1}"),
    "ice-lite": (re.compile(r""), ""),
    "ice-pwd": (re.compile(r"([!-~]{22,256})"), "{0}"),
    "ice-ufrag": (re.compile(r"([!-9;-~]{4,256})"), "{0}"),
    "mid": (re.compile(r"([!-~]{1,64})"), "{0}"),
    "msid": (re.compile(r"([!-~]{1,256})( [!-~]{1,256})?"), "{0}{1}"),
    "rtcp-fb": (re.compile(r"(\d{1,3}|\*)( nack| ccm| goog-remb| transport-cc)( pli| fir)?"), "{0}{1}{2}"),
    "rtcp-mux": (re.compile(r""), ""),
    "setup": (re.compile(r"(actpass|active|passive)"), "{0}"),
    "ssrc": (re.compile(r"(\d{1,10})(?: +([!-9;-~]+):(.*)| .*)?"), "{0} {1}:{2}"),
    "ssrc-group": (re.compile(r"([!-~]+)((?: +\d{1,10})+)"), "{0}{1}"),
    **{direction: (re.compile(r""), "") for direction in DIRECTIONS},
}
_FORMAT_ATTRIBUTES = frozenset(("rtpmap", "fmtp", "rtcp-fb"))
_FORMAT = re.compile(r"(\d{1,3}) +([!-.0-~]+)/(\d{1,9})(/\d{1,3})?.*")
_PARAMETERS = re.compile(r"(\d{1,3}) +(.+)")

Attribute = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Head:
    """The parts of a section that `aiortc.sdp` does not keep: its m-line as written, its layers and its candidates."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    bundle_only: bool
    rids: tuple[str, ...]
    candidates: tuple[str, ...]
    end_of_candidates: bool

    @property
    def is_rtp(self) -> bool:
        """Returns True if its formats are RTP payload types."""
        return self.kind in {"audio", "video"} and any(map(_usable_payload_type, self.formats))


def normalize(sdp: str) -> tuple[str, tuple[Head, ...]]:
    """Returns the text in the one dialect, and each section's head.

    Raises ValueError if an m-line is malformed (RFC 8866 section 5.14).
    """
    session, *sections = _split(sdp)
    inherited = [(name, value) for name, value in _attributes(session) if name in DIRECTIONS or name == "extmap"]
    lines = [line for line in session if line.startswith("o=")]
    # A peer that names no DTLS role can take either; without a role aiortc.sdp would drop its fingerprints.
    lines += _written([("setup", "actpass"), *_attributes(session)])
    heads = []
    for section in sections:
        attributes = _attributes(section)
        head = _head(section[0], attributes)
        heads.append(head)
        lines += [_media_line(head), *_section_lines(head, inherited + attributes)]
    return "\r\n".join(lines) + "\r\n", tuple(heads)


def _split(sdp: str) -> list[list[str]]:
    """Returns the lines of the session, then the lines of each section."""
    groups: list[list[str]] = [[]]
    for line in sdp.splitlines():
        if line.startswith("m="):
            groups.append([])
        if len(groups[-1]) < _MAX_LINES:
            groups[-1].append(line)
    return groups


def _attributes(lines: Sequence[str]) -> list[Attribute]:
    pairs = (line[2:].partition(":") for line in lines if line.startswith("a="))
    return [(name.strip().lower(), value.strip()) for name, _, value in pairs]


def _head(line: str, attributes: Sequence[Attribute]) -> Head:
    match = _MEDIA_LINE.fullmatch(line)
    if match is None:
        raise ValueError("malformed m-line")
    names = {name for name, _ in attributes}
    return Head(
        kind=match[1].lower(),
        port=int(match[2]),
        protocol=match[3],
        formats=tuple(match[4].split()),
        bundle_only="bundle-only" in names,
        rids=_rids(attributes),
        candidates=tuple(f"candidate:{value}" for name, value in attributes if name == "candidate"),
        end_of_candidates="end-of-candidates" in names,
    )


def _rids(attributes: Sequence[Attribute]) -> tuple[str, ...]:
    """Returns the layers that the peer would send, of alternatives the first; empty if any of it is malformed."""
    declared = {match[1] for name, value in attributes if name == "rid" and (match := _RID.fullmatch(value))}
    lists = (match[1] for name, value in attributes if name == "simulcast" and (match := _SIMULCAST.fullmatch(value)))
    rids = tuple(layer.partition(",")[0].removeprefix("~") for layer in next(lists, "").split(";"))
    if len(set(rids)) < len(rids) or not declared.issuperset(rids):
        return ()
    return rids[:_MAX_RIDS]


def _usable_payload_type(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 128 and int(text) not in _RTCP_CONFLICTS


def _media_line(head: Head) -> str:
    if not head.is_rtp:
        return "m=application 9 UDP/DTLS/SCTP 0"
    return f"m={head.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(filter(_usable_payload_type, head.formats))}"


def _section_lines(head: Head, attributes: Sequence[Attribute]) -> list[str]:
    lines = _written([pair for pair in attributes if pair[0] not in _FORMAT_ATTRIBUTES])
    if not head.is_rtp:
        return lines
    return [*lines, *_format_lines(head.formats, tuple(pair for pair in attributes if pair[0] in _FORMAT_ATTRIBUTES))]


def _written(attributes: Sequence[Attribute]) -> list[str]:
    """Returns the lines of the attributes that are kept, normalized and without repetitions."""
    lines: dict[str, None] = {}
    for name, value in attributes:
        pattern, template = _SHAPES.get(name, (None, ""))
        if pattern and (match := pattern.fullmatch(value)):
            written = template.format(*match.groups(default=""))  # Match.expand would parse its template each time
            lines[f"a={name}:{written}" if template else f"a={name}"] = None
    return list(lines)


@lru_cache(maxsize=64)  # most of an offer, and the same in all sections of one kind of all browsers of one version
def _format_lines(payload_types: tuple[str, ...], attributes: tuple[Attribute, ...]) -> list[str]:
    """Returns one rtpmap, and one fmtp at most, for each payload type of the m-line that is a known codec or rtx."""
    written = _by_payload_type(_FORMAT, "rtpmap", attributes)
    formats = {key: f"{key} {description}" for key, description in _STATIC_FORMATS.items()}
    formats |= {
        key: f"{key} {match[2]}/{match[3]}{match[4] or ''}"
        for key, match in written.items()
        if match[2].lower() in CANONICAL or match[2].lower() == "rtx"
    }
    parameters = _by_payload_type(_PARAMETERS, "fmtp", attributes)
    lines = _written(attributes)
    for key in dict.fromkeys(filter(_usable_payload_type, payload_types)):
        if key in formats:
            lines.append(f"a=rtpmap:{formats[key]}")
            if key in parameters:
                lines.append(f"a=fmtp:{key} {_tidy_parameters(parameters[key][2])}")
    return lines


def _by_payload_type(
    pattern: re.Pattern[str], wanted: str, attributes: Sequence[Attribute]
) -> dict[str, re.Match[str]]:
    found: dict[str, re.Match[str]] = {}
    for name, value in attributes:
        if name == wanted and (match := pattern.fullmatch(value)):
            found.setdefault(match[1], match)
    return found


def _tidy_parameters(text: str) -> str:
    """Returns the pairs without padding, and without those that must be integers and are not."""
    pairs = []
    for pair in text.split(";"):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if name and (name not in FMTP_INT_PARAMETERS or (equals and value.isascii() and value.isdigit())):
            pairs.append(f"{name}{equals}{value[:1024]}")
    return ";".join(pairs)
