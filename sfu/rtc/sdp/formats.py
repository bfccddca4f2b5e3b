"""The payload formats of one section: its rtpmap, fmtp and rtcp-fb lines to codecs (RFC 8866, RFC 4585, RFC 4588).

Owns which of them can be used. A format that cannot costs nothing but itself. Never decides which are answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sfu.rtc.sdp.codec import CANONICAL, Codec
from sfu.rtc.sdp.dialects import Attributes, MediaLine, matches

# RFC 3551 section 6: payload types that need no rtpmap.
_STATIC_FORMATS = {0: ("PCMU", 8000, 1), 8: ("PCMA", 8000, 1), 9: ("G722", 8000, 1)}

# RFC 5761 section 4: payload types that look like RTCP on a shared port.
_RTCP_CONFLICTS = range(64, 96)

_FORMAT = re.compile(r"([0-9]{1,3}) +([!-.0-~]+)/([1-9][0-9]{0,8})(?:/([0-9]{1,3}))?.*")
_PARAMETERS = re.compile(r"([0-9]{1,3}) +(.+)")
_FEEDBACK = re.compile(r"([0-9]{1,3}|\*) ((?:nack|ccm|goog-remb|transport-cc)(?: (?:pli|fir))?)")

# Parameters that are whole numbers in every format that has them.
_WHOLE_NUMBERS = frozenset(("apt", "max-fr", "max-fs", "maxplaybackrate", "minptime", "stereo", "useinbandfec"))
# Of one format; more than any peer writes.
_MAX_PARAMETERS = 64
_MAX_PARAMETER_LENGTH = 1024

_RTX = "rtx"


@dataclass(frozen=True, slots=True)
class Formats:
    """The known codecs of a section, in the order of its m-line.

    `rtx` maps payload types of retransmissions to those that they repair.
    """

    codecs: tuple[Codec, ...]
    rtx: Mapping[int, int]


def read_formats(media: MediaLine, attributes: Attributes) -> Formats:
    """Returns the formats that can be used; none in a section that is neither audio nor video."""
    if not media.is_rtp:
        return Formats((), {})
    lines = (tuple(attributes.get(name, ())) for name in ("rtpmap", "fmtp", "rtcp-fb"))
    return _formats(media.kind, media.formats, *lines)


@lru_cache(maxsize=64)  # most of an offer, and the same in all sections of one kind of all browsers of one version
def _formats(
    kind: str, formats: tuple[str, ...], rtpmaps: tuple[str, ...], fmtps: tuple[str, ...], feedbacks: tuple[str, ...]
) -> Formats:
    described = _STATIC_FORMATS | _described(rtpmaps)
    parameters = _parameters(fmtps)
    feedback = _feedback(feedbacks)
    codecs: dict[int, Codec] = {}
    repairs: dict[int, str] = {}
    for number in dict.fromkeys(_payload_types(formats)):
        name, clock_rate, channels = described.get(number, ("", 0, 1))
        pairs = parameters.get(number, ())
        if name == _RTX:
            repairs[number] = dict(pairs).get("apt", "")
        elif name:
            codec = Codec(
                name, clock_rate, channels if kind == "audio" else 1, number, pairs, _of_codec(number, feedback)
            )
            if codec.kind == kind:
                codecs[number] = codec
    rtx = {number: int(apt) for number, apt in repairs.items() if apt and int(apt) in codecs}
    return Formats(tuple(codecs.values()), rtx)


def _payload_types(formats: Iterable[str]) -> Iterable[int]:
    """Yields the payload types that nobody takes for RTCP (RFC 5761 section 4)."""
    for text in formats:
        if len(text) <= 3 and text.isascii() and text.isdigit():
            number = int(text)
            if number < 128 and number not in _RTCP_CONFLICTS:
                yield number


def _described(rtpmaps: Iterable[str]) -> dict[int, tuple[str, int, int]]:
    """Returns (name, clock rate, channels) of each payload type that is a known codec or rtx; its first line counts."""
    found: dict[int, tuple[str, int, int]] = {}
    for match in matches(_FORMAT, rtpmaps):
        found.setdefault(int(match[1]), (match[2].lower(), int(match[3]), int(match[4] or 1) or 1))
    return {
        number: (CANONICAL.get(name, _RTX), rate, channels)
        for number, (name, rate, channels) in found.items()
        if name in CANONICAL or name == _RTX
    }


def _parameters(fmtps: Iterable[str]) -> dict[int, tuple[tuple[str, str], ...]]:
    found: dict[int, str] = {}
    for match in matches(_PARAMETERS, fmtps):
        found.setdefault(int(match[1]), match[2])
    return {number: tuple(_pairs(text).items()) for number, text in found.items()}


def _pairs(text: str) -> dict[str, str]:
    """Returns the pairs without padding, and without those that must be whole numbers and are not."""
    pairs: dict[str, str] = {}
    for pair in text.split(";", _MAX_PARAMETERS)[:_MAX_PARAMETERS]:
        name, _, value = (part.strip() for part in pair.partition("="))
        whole = name in _WHOLE_NUMBERS
        if name and len(pair) <= _MAX_PARAMETER_LENGTH and (not whole or (value.isascii() and value.isdigit())):
            pairs[name] = str(int(value)) if whole else value
    return pairs


def _feedback(lines: Iterable[str]) -> dict[str, dict[str, None]]:
    """Returns the feedback of each payload type, which may be "*" for all, without repetitions."""
    found: dict[str, dict[str, None]] = {}
    for match in matches(_FEEDBACK, lines):
        found.setdefault(match[1], {})[match[2]] = None
    return found


def _of_codec(number: int, feedback: Mapping[str, Mapping[str, None]]) -> tuple[str, ...]:
    return tuple({**feedback.get("*", {}), **feedback.get(str(number), {})})
