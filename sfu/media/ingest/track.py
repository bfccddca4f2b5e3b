"""An incoming track: one section in which a client sends, and the producers of its layers.

Owns the table of layers by rid (RFC 8852): without simulcast there is one, without a rid. Never handles a packet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf

from sfu.media.ingest.producer import Producer
from sfu.media.ingest.starts import Problem
from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import Receive

Layer = tuple[Producer, str | None, int | None]
"""A producer, its rid, and its bitrate in bit/s: 1 until measured, None while no packets arrive."""


class IncomingTrack:
    """One incoming section and its producers."""

    def __init__(self, mid: str, receive: Receive, new_producer: Callable[[str, Receive], Producer]) -> None:
        self.mid = mid
        self._new_producer = new_producer
        self._producers: dict[str | None, Producer] = {}
        self.rtx: Mapping[int, int] = {}
        """Payload types of retransmissions, with the payload types that they repair."""
        self.negotiated(receive)

    def negotiated(self, receive: Receive) -> list[Producer]:
        """Takes over a (re-)offer. Returns the producers of the layers that were removed."""
        rids: tuple[str | None, ...] = receive.rids or (None,)
        self.rtx = receive.rtx
        before, self._producers = self._producers, {}
        for rid in rids:
            producer = before.pop(rid, None)
            if producer is None:
                producer = self._new_producer(self.mid, receive)
            else:
                producer.negotiated(receive.codecs, receive.extensions)
            self._producers[rid] = producer
        return list(before.values())

    def layer(self, rid: str | None) -> Producer | None:
        """Returns the producer of a layer; None for a rid that was not offered or is not known yet."""
        return self._producers.get(rid)

    @property
    def producers(self) -> Collection[Producer]:
        """Returns the producers of all layers."""
        return self._producers.values()

    @property
    def codec(self) -> Codec:
        """Returns the codec in use now."""
        return self.main.codec

    @property
    def main(self) -> Producer:
        """Returns the layer with the highest bitrate, or the first one."""
        return max(self._producers.values(), key=lambda producer: producer.bitrate)

    @property
    def rids(self) -> Mapping[str | None, Producer]:
        """Returns the layers by rid."""
        return self._producers

    def layers(self, now: float) -> Sequence[Layer]:
        """Returns all layers, the lowest bitrate first.

        Layers that never sent are last, because browsers start with the lowest layer.
        """
        ordered = sorted(self._producers.items(), key=lambda item: item[1].bitrate or inf)
        return [(each, rid, None if each.stalled(now) else max(each.bitrate, 1)) for rid, each in ordered]

    @property
    def problem(self) -> Problem | None:
        """Returns the reason why no layer can be shown; None if one can, or before that is known."""
        problems = [each.starts.problem for each in self._producers.values() if each.ssrc or each.starts.problem]
        return problems[0] if all(problems) and problems else None

    @property
    def heard_at(self) -> float:
        """Returns the arrival time of the latest packet of any layer, in seconds of the loop's clock."""
        return max(producer.heard_at for producer in self._producers.values())
