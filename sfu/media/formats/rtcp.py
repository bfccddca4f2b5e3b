"""RTCP: compound packets to values and back (RFC 3550 section 6, RFC 4585, RFC 5104, draft-alvestrand-rmcat-remb-03).

Owns the wire format of the messages that the relay handles or sends. Never decides when to send or what a report means.
Never raises on remote bytes: unknown parts are skipped, and parts before a broken one are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from struct import Struct

from sfu.media.formats.transport_cc import TransportFeedback, read_arrivals, write_arrivals

_HEADER = Struct("!BBH")
_SSRC = Struct("!I")
_SENDER = Struct("!IQIII")
_BLOCK = Struct("!IB3sIIII")
_FEEDBACK = Struct("!II")
_FIR_ENTRY = Struct("!IB3x")
_NACK_ENTRY = Struct("!HH")

RECEIVER_REPORT = 201
"""Packet type, the second byte of a packet."""
_SR, _RR, _SDES, _BYE, _RTPFB, _PSFB = 200, RECEIVER_REPORT, 202, 203, 205, 206
_NACK, _TRANSPORT_FEEDBACK = 1, 15
_PLI, _FIR, _AFB = 1, 4, 15
_CNAME = 1
NTP_MASK = 0xFFFF_FFFF_FFFF_FFFF
"""64-bit NTP times (RFC 3550 section 4) wrap, the next time in 2036."""
_MAX_COUNT = 31
_MAX_NACKED_PACKETS = 1000
"""In one NACK. libwebrtc never asks for more; a datagram has room for five times as many."""


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """Reception statistics of one stream (RFC 3550 section 6.4.1)."""

    ssrc: int
    fraction_lost: int
    """Lost since the previous report, in 1/256."""
    lost: int
    """Lost since the beginning; negative if duplicates outnumber losses; 24 bits, clamped when written."""
    highest: int
    """Extended highest sequence number received."""
    jitter: int
    """Interarrival jitter in ticks of the stream's clock rate."""
    lsr: int
    """Middle 32 bits of the NTP time in the last sender report; 0 if none."""
    dlsr: int
    """Time since that sender report, in 1/65536 s."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """The wall time at which a stream's media time was sampled, and totals sent (RFC 3550 section 6.4.1)."""

    ssrc: int
    ntp: int
    """64 bits: seconds since 1900 and 32 bits of fraction."""
    media_time: int
    packets: int
    octets: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """Reception statistics of one receiver (RFC 3550 section 6.4.2)."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyFrameRequest:
    """PLI (RFC 4585 section 6.3.1), or one entry of a FIR (RFC 5104 section 4.3.1)."""

    media_ssrc: int
    fir: bool


@dataclass(frozen=True, slots=True)
class Nack:
    """A request for missing packets (RFC 4585 section 6.2.1)."""

    media_ssrc: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Remb:
    """A receiver's bandwidth estimate, in bit/s, for these streams together."""

    bitrate: int
    ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Streams that have ended (RFC 3550 section 6.6)."""

    ssrcs: tuple[int, ...]


Message = SenderReport | ReceiverReport | KeyFrameRequest | Nack | TransportFeedback | Remb | Goodbye


def sender(data: bytes) -> int:
    """Returns the SSRC of the sender of a datagram, which is in the same place in each kind of message."""
    return int.from_bytes(data[4:8], "big")


def parse(data: bytes) -> list[Message]:
    """Returns the messages of a compound or reduced-size packet, in order, up to the first part with broken framing."""
    messages: list[Message] = []
    for kind, form, body in _parts(data):
        reader = _READERS.get(kind)
        if reader is not None and body is not None:
            messages += reader(form, body) or ()
    return messages


def parse_requests(data: bytes, drops: MutableMapping[str, int]) -> list[Message]:
    """Returns the messages of a viewer's packet, without receiver reports and transport-wide feedback.

    Receiver reports are the most frequent messages and the slowest to read, so the caller reads them with `parse` when
    it needs one. We never negotiate transport-wide feedback with viewers, and 20 bytes of it can report 8,191 packets.
    Counts in `drops`: `malformed_rtcp` for parts that cannot be read, `unasked_feedback`.
    """
    messages: list[Message] = []
    for kind, form, body in _parts(data):
        reader = _READERS.get(kind)
        if kind == _RTPFB and form == _TRANSPORT_FEEDBACK:
            drops["unasked_feedback"] += 1
        elif body is None:
            drops["malformed_rtcp"] += 1
        elif reader is not None and kind != _RR:
            read = reader(form, body)
            if read is None:
                drops["malformed_rtcp"] += 1
            else:
                messages += read
    return messages


def _parts(data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
    """Yields type, format or count, and body of each part; a None body for a broken one, and then ends."""
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            yield 0, 0, None
            return
        first, kind, words = _HEADER.unpack_from(data, position)
        end = position + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            yield 0, 0, None
            return
        body = data[position + 4 : end]
        yield kind, first & 0x1F, _without_padding(body) if first & 0x20 else body
        position = end


def _without_padding(body: bytes) -> bytes | None:
    """Returns the body without its padding; None if the padding length is not possible."""
    padding = body[-1] if body else 0
    return body[:-padding] if 0 < padding <= len(body) else None


def _read_sender_report(count: int, body: bytes) -> list[Message] | None:
    if len(body) < _SENDER.size + count * _BLOCK.size:
        return None
    ssrc, ntp, media_time, packets, octets = _SENDER.unpack_from(body)
    return [SenderReport(ssrc, ntp, media_time, packets, octets, _read_blocks(count, body, _SENDER.size))]


def _read_receiver_report(count: int, body: bytes) -> list[Message] | None:
    if len(body) < _SSRC.size + count * _BLOCK.size:
        return None
    return [ReceiverReport(_SSRC.unpack_from(body)[0], _read_blocks(count, body, _SSRC.size))]


def _read_blocks(count: int, body: bytes, start: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for position in range(start, start + count * _BLOCK.size, _BLOCK.size):
        ssrc, fraction_lost, lost, highest, jitter, lsr, dlsr = _BLOCK.unpack_from(body, position)
        lost = int.from_bytes(lost, "big", signed=True)
        blocks.append(ReportBlock(ssrc, fraction_lost, lost, highest, jitter, lsr, dlsr))
    return tuple(blocks)


def _read_bye(count: int, body: bytes) -> list[Message] | None:
    if len(body) < 4 * count:
        return None
    return [Goodbye(_read_ssrcs(count, body))]


def _read_ssrcs(count: int, body: bytes) -> tuple[int, ...]:
    return tuple(ssrc for (ssrc,) in _SSRC.iter_unpack(body[: 4 * count]))


def _read_rtp_feedback(form: int, body: bytes) -> list[Message] | None:
    if form == _TRANSPORT_FEEDBACK:
        feedback = read_arrivals(body[4:])
        return None if feedback is None else [feedback]
    if form != _NACK:
        return []
    if len(body) < 12 or len(body) % 4:
        return None
    sequences: list[int] = []
    for first, following in _NACK_ENTRY.iter_unpack(body[8:]):
        sequences.append(first)
        sequences += [(first + 1 + bit) & 0xFFFF for bit in range(16) if following >> bit & 1]
        if len(sequences) >= _MAX_NACKED_PACKETS:
            break
    return [Nack(_SSRC.unpack_from(body, 4)[0], tuple(sequences[:_MAX_NACKED_PACKETS]))]


def _read_payload_feedback(form: int, body: bytes) -> list[Message] | None:
    if len(body) < 8 or len(body) % 4:
        return None
    if form == _PLI:
        return [KeyFrameRequest(_SSRC.unpack_from(body, 4)[0], fir=False)]
    if form == _FIR:
        entries = _FIR_ENTRY.iter_unpack(body[8:]) if len(body) % 8 == 0 else None
        return None if entries is None else [KeyFrameRequest(ssrc, fir=True) for ssrc, _ in entries]
    if form == _AFB and body[8:12] == b"REMB":
        return _read_remb(body)
    return []


def _read_remb(body: bytes) -> list[Message] | None:
    if len(body) < 16 or len(body) < 16 + 4 * body[12]:
        return None
    mantissa = int.from_bytes(body[13:16], "big") & 0x3FFFF
    return [Remb(mantissa << (body[13] >> 2), _read_ssrcs(body[12], body[16:]))]


_READERS: dict[int, Callable[[int, bytes], list[Message] | None]] = {
    _SR: _read_sender_report,
    _RR: _read_receiver_report,
    _BYE: _read_bye,
    _RTPFB: _read_rtp_feedback,
    _PSFB: _read_payload_feedback,
}


def ntp_delta(a: int, b: int) -> int:
    """Returns the time from the 64-bit NTP time `b` to `a` in 2^-32 s: negative if `a` comes before `b`."""
    return (a - b + (1 << 63) & NTP_MASK) - (1 << 63)


def compound(*parts: bytes) -> bytes:
    """Joins these parts to one datagram, which must begin with a report (RFC 3550 section 6.1).

    Puts an empty receiver report first if the first part is no report.
    """
    if parts[0][1] in (_SR, _RR):
        return b"".join(parts)
    return b"".join((_part(_RR, 0, parts[0][4:8]), *parts))


def sender_report(report: SenderReport, cname: str) -> bytes:
    """Makes a compound of the report, with at most 31 report blocks, and the canonical name of its sender."""
    sender = _SENDER.pack(report.ssrc, report.ntp, report.media_time, report.packets, report.octets)
    blocks = report.reports[:_MAX_COUNT]
    return _part(_SR, len(blocks), sender + _write_blocks(blocks)) + _source_description(report.ssrc, cname)


def receiver_report(ssrc: int, blocks: Sequence[ReportBlock], cname: str) -> bytes:
    """Makes a compound of as many receiver reports as the blocks need and the canonical name of the receiver."""
    data = b""
    for start in range(0, len(blocks) or 1, _MAX_COUNT):
        chunk = blocks[start : start + _MAX_COUNT]
        data += _part(_RR, len(chunk), _SSRC.pack(ssrc) + _write_blocks(chunk))
    return data + _source_description(ssrc, cname)


def pli(sender_ssrc: int, media_ssrc: int) -> bytes:
    """Makes a picture loss indication, which requests a key frame (RFC 4585 section 6.3.1)."""
    return _part(_PSFB, _PLI, _FEEDBACK.pack(sender_ssrc, media_ssrc))


def fir(sender_ssrc: int, media_ssrc: int, number: int) -> bytes:
    """Makes a full intra request. `number` must differ, modulo 256, from the previous one (RFC 5104 section 4.3.1)."""
    return _part(_PSFB, _FIR, _FEEDBACK.pack(sender_ssrc, 0) + _FIR_ENTRY.pack(media_ssrc, number & 0xFF))


def nack(sender_ssrc: int, media_ssrc: int, sequences: Sequence[int]) -> bytes:
    """Makes a request for these packets (RFC 4585 section 6.2.1). It is shortest if the numbers rise; they may wrap."""
    entries: list[tuple[int, int]] = []
    for sequence in sequences:
        ahead = sequence - entries[-1][0] & 0xFFFF if entries else 0
        if 0 < ahead <= 16:
            entries[-1] = entries[-1][0], entries[-1][1] | 1 << ahead - 1
        else:
            entries.append((sequence & 0xFFFF, 0))
    return _part(
        _RTPFB, _NACK, _FEEDBACK.pack(sender_ssrc, media_ssrc) + b"".join(_NACK_ENTRY.pack(*e) for e in entries)
    )


def transport_feedback(sender_ssrc: int, feedback: TransportFeedback) -> bytes:
    """Makes a transport-wide feedback message, padded to 32 bits (RFC 3550 section 6.4.1)."""
    body = _SSRC.pack(sender_ssrc) + write_arrivals(feedback)
    padding = -len(body) & 3
    if not padding:
        return _part(_RTPFB, _TRANSPORT_FEEDBACK, body)
    return _part(_RTPFB, 0x20 | _TRANSPORT_FEEDBACK, body + bytes(padding - 1) + bytes((padding,)))


def remb(sender_ssrc: int, bitrate: int, ssrcs: Sequence[int]) -> bytes:
    """Makes an estimate, in bit/s, for these streams (255 at most) together; rounded down to 18 significant bits."""
    exponent, ssrcs = max(0, bitrate.bit_length() - 18), ssrcs[:255]
    head = bytes((len(ssrcs),)) + (exponent << 18 | bitrate >> exponent).to_bytes(3, "big")
    return _part(_PSFB, _AFB, _FEEDBACK.pack(sender_ssrc, 0) + b"REMB" + head + _write_ssrcs(ssrcs))


def bye(ssrcs: Sequence[int]) -> bytes:
    """Makes the message that these streams, at most 31, have ended (RFC 3550 section 6.6)."""
    return _part(_BYE, len(ssrcs), _write_ssrcs(ssrcs))


def _part(kind: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(0x80 | count, kind, len(body) // 4) + body


def _write_ssrcs(ssrcs: Sequence[int]) -> bytes:
    return b"".join([_SSRC.pack(ssrc) for ssrc in ssrcs])


def _write_blocks(blocks: Sequence[ReportBlock]) -> bytes:
    return b"".join([_write_block(block) for block in blocks])


def _write_block(block: ReportBlock) -> bytes:
    lost = max(-0x80_0000, min(block.lost, 0x7F_FFFF)).to_bytes(3, "big", signed=True)
    return _BLOCK.pack(block.ssrc, block.fraction_lost, lost, block.highest, block.jitter, block.lsr, block.dlsr)


def _source_description(ssrc: int, cname: str) -> bytes:
    name = cname.encode()[:255]
    item = _SSRC.pack(ssrc) + bytes((_CNAME, len(name))) + name
    return _part(_SDES, 1, item + bytes(4 - len(item) % 4))
