"""Our own session descriptions as SDP text (RFC 8866, RFC 8829).

Owns the choice and form of the lines, so that old and small peers understand them. Never decides what is agreed: that
is `sfu.rtc.sdp.negotiate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sfu.rtc.sdp.codec import VIDEO, Codec
from sfu.rtc.sdp.description import CNAME, Agreed, Direction, Local, Negotiated, OfferSection, Setup

# In kbit/s, for a camera that estimates its link's capacity by transport-cc: libwebrtc would start at 300 and take
# seconds to reach a usable picture. Only libwebrtc knows this parameter.
_START_BITRATE = ("x-google-start-bitrate", "1200")

# fmtp parameters that an answer repeats: those that must agree (RFC 6184 section 8.2.2 and the same in other formats)
# and, for opus, the wishes to the sender. Declarations of the sender (sprop-...) are not repeated.
_ANSWERED_PARAMETERS = {
    "H264": ("level-asymmetry-allowed", "packetization-mode", "profile-level-id"),
    "VP9": ("profile-id",),
    "AV1": ("level-idx", "profile", "tier"),
    "H265": ("level-id", "profile-id", "tier-flag", "tx-mode"),
    "opus": ("minptime", "useinbandfec", "stereo"),
}


def write_answer(negotiated: Negotiated, local: Local, *, session_id: int, version: int) -> str:
    """Returns our answer with all candidates. `version` must grow from one answer of a session to the next."""
    tagged = _tagged(negotiated)
    lines = _session_lines(local, negotiated.bundle, session_id, version)
    for section in negotiated.sections:
        if section.rejected is not None:
            lines += _rejected_lines(section, local, negotiated.setup)
            continue
        lines += _media_lines(section.kind, section.protocol, section.direction, section.codecs, section.rtx)
        lines += _identity_lines(section.mid if section.named else None, section.extensions, section.one_way)
        send = section.send
        if send is not None:
            lines += _source_lines(send.ssrc, send.rtx_ssrc, f"{send.stream} {send.track}", CNAME)
        lines += _codecs_lines(section.codecs, section.rtx, answered=True)
        lines += _layer_lines(section.rids, "recv")
        lines += _transport_lines(local, negotiated.setup, candidates=section is tagged)
    return _text(lines)


def _tagged(negotiated: Negotiated) -> Agreed:
    """Returns the section whose transport all share (RFC 9143 section 7.3): the first that BUNDLE names, if any."""
    served = [section for section in negotiated.sections if section.rejected is None]
    tag = negotiated.bundle[0] if negotiated.bundle else served[0].mid
    return next(section for section in served if section.mid == tag)


def write_offer(sections: Sequence[OfferSection], local: Local, *, session_id: int, version: int) -> str:
    """Returns an offer of one of our own client peers: one BUNDLE, with all candidates."""
    lines = _session_lines(local, tuple(section.mid for section in sections), session_id, version)
    for section in sections:
        lines += _media_lines(section.kind, "UDP/TLS/RTP/SAVPF", section.direction, section.codecs, section.rtx)
        lines += _identity_lines(section.mid, section.extensions)
        if section.ssrc is not None:
            msid = f"{section.stream or '-'} {section.track or section.mid}"
            lines += _source_lines(section.ssrc, section.rtx_ssrc, msid, section.cname)
        lines += _codecs_lines(section.codecs, section.rtx, answered=False)
        lines += _layer_lines(section.rids, "send")
        lines += _transport_lines(local, "actpass", candidates=section is sections[0])
    return _text(lines)


def _session_lines(local: Local, bundle: Sequence[str] | None, session_id: int, version: int) -> list[str]:
    lines = ["v=0", f"o=- {session_id} {version} IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if bundle is not None:
        lines.append(f"a=group:BUNDLE {' '.join(bundle)}")
    if local.lite:
        lines.append("a=ice-lite")
    return [*lines, "a=ice-options:trickle", "a=msid-semantic:WMS *"]


def _rejected_lines(section: Agreed, local: Local, setup: Setup) -> list[str]:
    """Returns a section with port 0 (RFC 3264 section 6).

    ICE, DTLS role and rtcp-mux are written nonetheless, since aiortc refuses an answer with a section without them.
    """
    lines = [f"m={section.kind} 0 {section.protocol} {section.formats[0]}", "c=IN IP4 0.0.0.0", "a=inactive"]
    lines += _identity_lines(section.mid if section.named else None, {})
    lines += [f"a=ice-ufrag:{local.ufrag}", f"a=ice-pwd:{local.pwd}", f"a=setup:{setup}"]
    return [*lines, "a=rtcp-mux"] if section.kind in {"audio", "video"} else lines


def _media_lines(
    kind: str, protocol: str, direction: Direction, codecs: Sequence[Codec], rtx: Mapping[int, int]
) -> list[str]:
    numbers = [codec.payload_type for codec in codecs]
    payload_types = " ".join(map(str, [*numbers, *(rtx[number] for number in numbers if number in rtx)]))
    return [f"m={kind} 9 {protocol} {payload_types}", "c=IN IP4 0.0.0.0", f"a={direction}", "a=rtcp-mux"]


def _identity_lines(
    mid: str | None, extensions: Mapping[str, int], one_way: Mapping[str, Direction] | None = None
) -> list[str]:
    lines = [] if mid is None else [f"a=mid:{mid}"]
    ways = {uri: f"/{way}" for uri, way in (one_way or {}).items()}
    return [*lines, *(f"a=extmap:{number}{ways.get(uri, '')} {uri}" for uri, number in extensions.items())]


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
    lines: list[str] = []
    for codec in codecs:
        lines += _codec_lines(codec, answered=answered)
        if (number := rtx.get(codec.payload_type)) is not None:
            lines += [f"a=rtpmap:{number} rtx/{codec.clock_rate}", f"a=fmtp:{number} apt={codec.payload_type}"]
    return lines


def _codec_lines(codec: Codec, *, answered: bool) -> list[str]:
    number = codec.payload_type
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    lines = [f"a=rtpmap:{number} {codec.name}/{codec.clock_rate}{channels}"]
    lines += [f"a=rtcp-fb:{number} {value}" for value in codec.feedback]
    names = _ANSWERED_PARAMETERS.get(codec.name, ())
    pairs = [pair for pair in codec.parameters if not answered or pair[0].lower() in names]
    if answered and "transport-cc" in codec.feedback and codec.name in VIDEO:
        pairs.append(_START_BITRATE)
    if pairs:
        lines.append(f"a=fmtp:{number} {';'.join(f'{name}={value}' if value else name for name, value in pairs)}")
    return lines


def _transport_lines(local: Local, setup: Setup, *, candidates: bool) -> list[str]:
    """Returns the ICE and DTLS lines, which every section has, since some peers look there.

    Candidates are written in one section only, to save bytes.
    """
    lines = [f"a=ice-ufrag:{local.ufrag}", f"a=ice-pwd:{local.pwd}", f"a=fingerprint:sha-256 {local.fingerprint}"]
    lines.append(f"a=setup:{setup}")
    if candidates:
        lines += [f"a=candidate:{candidate.removeprefix('candidate:')}" for candidate in local.candidates]
        lines.append("a=end-of-candidates")
    return lines


def _text(lines: Sequence[str]) -> str:
    return "\r\n".join(lines) + "\r\n"
