"""A consumer: one slot of one participant, and how a producer's packets are renumbered for it.

Owns the outgoing stream's numbering (RFC 3550: SSRC, sequence number, media time), which runs on without a jump
whatever producer feeds the slot. Never sends: `fanout` does, with what `rewrite` returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sfu.media import rtcp
from sfu.media.rtp import Packet, extension_block
from sfu.rtc.codec import Codec, matching
from sfu.rtc.description import ABS_SEND_TIME, AUDIO_LEVEL, CNAME, MID, VIDEO_ORIENTATION, Send
from sfu.rtc.native import Rewritten
from sfu.rtc.transport import Transport

if TYPE_CHECKING:
    from sfu.media.producer import Producer

CARRIED: Final = (VIDEO_ORIENTATION, AUDIO_LEVEL, ABS_SEND_TIME)
"""Header extensions whose values go from producer to viewer, under the viewer's ids (RFC 8285)."""

Layout = tuple[tuple[int, bytes] | None, tuple[tuple[int, int], ...]]
"""What decides a consumer's extension block: its (id, MID), and pairs (producer's id, viewer's id)."""


class Drop(StrEnum):
    """Why a packet did not reach a consumer."""

    WAITING_FOR_KEY_FRAME = "waiting_for_key_frame"
    BEFORE_KEY_FRAME = "before_key_frame"
    CODEC = "codec"
    NOT_CONNECTED = "not_connected"
    REFUSED = "refused"


class Consumer:
    """What one slot receives: the packets of the producer attached to it, rewritten."""

    def __init__(self, mid: str, send: Send, transport: Transport) -> None:
        self.mid = mid
        self.ssrc = send.ssrc
        self.transport = transport
        self.producer: Producer | None = None
        self.packets = 0
        self.octets = 0
        self.drops: dict[Drop, int] = dict.fromkeys(Drop, 0)
        self.reported = False
        """Whether a sender report has told the present mapping of media time to wall time."""
        self.kind = send.codecs[0].kind
        self.codecs: tuple[Codec, ...] = ()
        self._extensions: Mapping[str, int] = {}
        self._payload_type: int | None = None
        self._clock_rate = 0
        self._layout: Layout = (None, ())
        self._live = False
        self._start = 0
        self._sequence_offset = 0
        self._time_offset = 0
        self._next_sequence: int | None = None
        self._last_time = 0
        self._last_at = 0.0
        self.negotiated(send)

    def negotiated(self, send: Send) -> None:
        """Takes over the viewer's payload types and extension ids (again, after a re-offer)."""
        if (self.codecs, self._extensions) != (send.codecs, send.extensions):
            self.codecs, self._extensions = send.codecs, send.extensions
            self.restart()

    def attach(self, producer: Producer | None, now: float) -> None:
        """Makes `producer` the one this slot shows; None empties it. A video consumer starts at the next key frame."""
        if producer is self.producer:
            return
        if self.producer is not None:
            self.producer.remove(self)
        self.producer = producer
        self.restart()
        if producer is not None:
            producer.add(self, now)

    def restart(self) -> None:
        """Begins anew at the producer's next start: after a switch, a new codec, a camera's new SSRC."""
        self._live = self.reported = False
        producer = self.producer
        if producer is None:
            return
        codec = matching(producer.codec, self.codecs)
        self._payload_type = None if codec is None else codec.payload_type
        self._clock_rate = producer.codec.clock_rate
        self._layout = self._make_layout(producer.extensions)

    def _make_layout(self, produced: Mapping[str, int]) -> Layout:
        mid_id = self._extensions.get(MID)
        both = [uri for uri in CARRIED if uri in produced and uri in self._extensions]
        return (
            None if mid_id is None else (mid_id, self.mid.encode()),
            tuple((produced[uri], self._extensions[uri]) for uri in both),
        )

    def rewrite(self, packets: Sequence[Packet], now: float) -> list[Rewritten]:
        """One burst of the attached producer as this consumer's packets; what it may not have is counted in `drops`."""
        if self._payload_type is None:
            self.drops[Drop.CODEC] += len(packets)
            return []
        if not self._live:
            packets = self._begin(packets, now)
        out: list[Rewritten] = []
        layout, payload_type = self._layout, self._payload_type
        sequence_offset, time_offset, start = self._sequence_offset, self._time_offset, self._start
        plain = layout == (None, ())
        for packet in packets:
            index = packet.index
            if index < start:  # sent before the key frame, arrived after it
                self.drops[Drop.BEFORE_KEY_FRAME] += 1
                continue
            body = packet.payload if plain else packet.blocks.get(layout) or _body(packet, layout)
            head = 0x8000 | payload_type | packet.marker << 7
            if body is not packet.payload:
                head |= 0x1000
            media_time = (packet.media_time + time_offset) & 0xFFFFFFFF
            out.append((head, (index + sequence_offset) & 0xFFFF, media_time, body))
            self.octets += len(packet.payload)
        if out:
            self._advance(packets[-1], now)
            self.packets += len(out)
        return out

    def _begin(self, packets: Sequence[Packet], now: float) -> Sequence[Packet]:
        """The part of the burst from the first key frame on, numbered to follow what this slot sent last."""
        position = next((at for at, packet in enumerate(packets) if packet.key), len(packets))
        self.drops[Drop.WAITING_FOR_KEY_FRAME] += position
        if position == len(packets):
            return ()
        packet = packets[position]
        self._live = True
        self._start = packet.index
        if self._next_sequence is not None:
            self._sequence_offset = self._next_sequence - packet.index
            elapsed = int((now - self._last_at) * self._clock_rate)
            # at least a frame of 30/s, so that two frames never share a media time
            self._time_offset = self._last_time + max(elapsed, self._clock_rate // 30) - packet.media_time
        return packets[position:]

    def _advance(self, last: Packet, now: float) -> None:
        following = last.index + self._sequence_offset + 1
        if self._next_sequence is None or following > self._next_sequence:
            self._next_sequence = following
        self._last_time = last.media_time + self._time_offset
        self._last_at = now

    def sender_report(self, now: float) -> bytes | None:
        """RFC 3550 section 6.4.1, on this consumer's numbering: None until the producer's clock is known."""
        producer = self.producer
        if producer is None or not self._live:
            return None
        moment = producer.moment(now)
        if moment is None:
            return None
        self.reported = True
        ntp, media_time = moment
        report = rtcp.SenderReport(
            ssrc=self.ssrc,
            ntp=ntp,
            media_time=(media_time + self._time_offset) & 0xFFFFFFFF,
            packets=self.packets & 0xFFFFFFFF,
            octets=self.octets & 0xFFFFFFFF,
        )
        return rtcp.sender_report(report, CNAME)


def _body(packet: Packet, layout: Layout) -> bytes:
    """Extension block and payload, written once for all consumers of this layout; the payload itself for no block."""
    own, carried = layout
    values = [] if own is None else [own]
    extensions = packet.extensions
    values += [(theirs, extensions[ours]) for ours, theirs in carried if ours in extensions]
    body = extension_block(values) + packet.payload if values else packet.payload
    packet.blocks[layout] = body
    return body
