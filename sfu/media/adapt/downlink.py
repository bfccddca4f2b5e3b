"""The downlink: the slots that one client is sent, and the feedback that comes from it.

Owns the client's slots, the answers to its requests, and the choice of layers for its link. Never forwards: `fanout`
does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from sfu.media.adapt.layers import KEY_FRAMES, LayerChoice, layer_for_window
from sfu.media.adapt.link_estimate import LinkEstimate
from sfu.media.formats import rtcp
from sfu.media.formats.picture_size import Size
from sfu.media.forward.consumer import Consumer
from sfu.media.forward.fanout import Fanout
from sfu.media.ingest.key_frame_requests import KeyFrameBudget
from sfu.media.ingest.producer import Producer
from sfu.media.ingest.track import IncomingTrack, Layer
from sfu.rtc.sdp.description import Agreed
from sfu.rtc.transport import Transport

_ROUND_TRIP_S: Final = 0.1  # until the client's first report
_VIDEO_CLOCK_HZ: Final = 90_000
_USED_SHARE: Final = 0.8  # of the estimate of a thin link; the rest is for packets that are sent again
_MIN_BITRATE_BPS: Final = 100_000
_SLIDE_PAUSE_S: Final = 1.0  # between two key frame requests for a slide show
_MEASURED_OVER_S: Final = 1.0
_MAX_EXPECTED_PACKETS: Final = 100_000  # between two reports; more means another stream
_HEAVY_LOSS_SHARE: Final = 0.1
_LOSING_S: Final = 3.0  # for this long heavy loss is a proof that the link is too thin
_DRAINED_S: Final = 1.2  # after this time a queue that was too long for the link has left it
_OLD_REPORTS_S: Final = 1.5  # for this long the reports of a client that has moved are about its old network
_REPLAY_PAUSE_S: Final = 1.0  # between two replays for a viewer that cannot decode


class DownlinkListener(Protocol):
    """The participant to which a downlink belongs."""

    def on_sparse(self) -> None:
        """Notes that a slot has become a slide show, or is none any more."""


class SlotView:
    """The track that one slot shows, in one of its layers."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.track: IncomingTrack | None = None
        self.wanted: str | None = None
        """The rid of the highest layer that the viewer asked for; None for the best."""
        self.size: Size | None = None
        """Width and height of its window, in pixels of the viewer's screen; None while unknown."""
        self.choice = LayerChoice()
        self.requests = KeyFrameBudget()
        """Limits the viewer's key frame requests."""
        self.repeat_at: float | None = None
        """Time of one more key frame request for a lower layer, in seconds of the loop's clock."""

    def most(self, layers: Sequence[Layer]) -> int | None:
        """Returns the index of the highest layer that the viewer wants and its window can show; None for no bound."""
        asked = next((at for at, (_, rid, _) in enumerate(layers) if rid == self.wanted), None)
        bounds = [] if self.wanted is None or asked is None else [asked]
        if self.size is not None and len(layers) > 1:
            fitting = layer_for_window(self.size, [producer.size() for producer, _, _ in layers])
            bounds += [] if fitting is None else [fitting]
        return min(bounds, default=None)

    @property
    def undecided(self) -> bool:
        """True if the choice of a layer may change with time alone."""
        return self.consumer.sparse or (self.track is not None and len(self.track.rids) > 1)


class _Aim(NamedTuple):
    """The layer to show."""

    producer: Producer
    thin: bool
    """True if the link carries its key frames only."""
    enough: bool
    """True if it is the highest layer that the viewer wants."""


class Downlink:
    """One client's slots."""

    def __init__(self, transport: Transport, fanout: Fanout, *, listener: DownlinkListener) -> None:
        self.slots: dict[str, SlotView] = {}
        self.estimate = LinkEstimate()
        self.round_trip = _ROUND_TRIP_S
        """Round trip to the client, in seconds."""
        self.carries: int | None = None
        """The latest estimate that a layer was chosen by, in bit/s; None while nothing is known."""
        self.drops = {"key_frame_requests": 0}
        self.loss = 0.0
        """Share of packets (0 to 1) that did not reach the client, by its latest report."""
        self._transport = transport
        self._fanout = fanout
        self._listener = listener
        self._report: tuple[bytes, float] | None = None  # the latest one, and when it came
        self._news = False
        self._sent, self._sent_at = 0, float("-inf")
        self._replayed_at = self._slide_at = self._losing_until = float("-inf")
        self._deaf_until = float("-inf")
        self._counted: tuple[float, int, int] | None = (float("-inf"), 0, 0)

    @property
    def consumers(self) -> list[Consumer]:
        """Returns the consumers of all slots, in the order of the sections."""
        return [slot.consumer for slot in self.slots.values()]

    @property
    def sparse(self) -> frozenset[str]:
        """Returns the mids of slots that are slide shows."""
        return frozenset(mid for mid, slot in self.slots.items() if slot.consumer.sparse)

    # --- slots

    def negotiated(self, sections: Iterable[Agreed], now: float) -> None:
        """Takes over the slots of a (re-)offer."""
        before, self.slots = self.slots, {}
        for section in sections:
            if section.send is None:
                continue
            slot = before.pop(section.mid, None)
            if slot is None:
                slot = SlotView(Consumer(section.mid, section.send, self._transport))
            else:
                slot.consumer.negotiated(section.send)
                self._fanout.start(slot.consumer)
            self.slots[section.mid] = slot
        for slot in before.values():
            slot.consumer.attach(None, now)

    def want(self, mid: str, rid: str | None) -> None:
        """Bounds the layers of a slot: none above `rid`; None: the best that the link carries."""
        if (slot := self.slots.get(mid)) is not None:
            slot.wanted = rid
            self._news = True

    def resize(self, sizes: Mapping[str, Size]) -> None:
        """Takes the sizes of the viewer's windows: no slot gets a larger layer than its window can show."""
        for mid in sizes.keys() & self.slots.keys():
            self.slots[mid].size = sizes[mid]
            self._news = True

    def show(self, mid: str, track: IncomingTrack | None, now: float) -> None:
        """Makes a slot show a track, or None; from the latest packets at once, if these are kept."""
        slot = self.slots.get(mid)
        if slot is None:
            return
        if slot.track is track and (track is None or slot.consumer.producer in track.producers):
            return
        slot.track, slot.choice = track, LayerChoice()
        slot.consumer.set_sparse(False)
        slot.repeat_at = None
        producer = None if track is None else self._aim(slot, track, now).producer
        slot.consumer.pace = self._pace()  # the latest one may be from before a long pause
        slot.consumer.attach(None if producer is None else self._fanout.branch(producer), now)
        self._fanout.start(slot.consumer)

    def rerouted(self) -> None:
        """Sorts the consumers' groups again: the transport has another path or other keys."""
        for slot in self.slots.values():
            if slot.consumer.group is not None:
                slot.consumer.group.rerouted()

    def moved(self, now: float) -> None:
        """Forgets all estimates and starts video anew: the client is in another network."""
        if now < self._deaf_until:
            return  # it has only found a better path of the new network
        self.estimate = LinkEstimate()
        self._news = True
        self._counted, self._deaf_until = None, now + _OLD_REPORTS_S
        self._losing_until = float("-inf")
        for slot in self.slots.values():
            slot.choice = LayerChoice()
            consumer = slot.consumer
            if consumer.kind == "video" and consumer.producer is not None and not consumer.sparse:
                self._replayed_at = now
                consumer.restart()
                consumer.forget()  # otherwise all lost packets would be sent again before new ones
                self._fanout.start(consumer)

    def _aim(self, slot: SlotView, track: IncomingTrack, now: float) -> _Aim:
        layers = track.layers(now)
        wanted = slot.most(layers)
        estimate = self.carries = self.estimate.bitrate(now)
        videos = sum(1 for other in self.slots.values() if other.track is not None and other.consumer.kind == "video")
        index = slot.choice.update(
            None if estimate is None else estimate // max(videos, 1),
            self.estimate.congested,
            [bitrate for _, _, bitrate in layers],
            now,
            wanted=wanted,
        )
        return _Aim(layers[max(index, 0)][0], index == KEY_FRAMES, index == wanted)

    # --- what the client says

    def on_rtcp(self, data: bytes, requests: Sequence[rtcp.Message], now: float) -> None:
        """Takes one RTCP compound, and the requests in it. Reports are kept, and read by the next `tick`."""
        if data[1] == rtcp.RECEIVER_REPORT:
            self._report = data, now
        for message in requests:
            if isinstance(message, rtcp.Nack):
                self._on_nack(message, now)
            elif isinstance(message, rtcp.KeyFrameRequest):
                self._on_key_frame_request(message.media_ssrc, now)
            elif isinstance(message, rtcp.Remb):
                self.estimate.on_remb(message.bitrate, now)
                self._news = True

    def _on_nack(self, nack: rtcp.Nack, now: float) -> None:
        for consumer in self.consumers:
            if consumer.ssrc == nack.media_ssrc and consumer.producer is not None:
                estimate = self.estimate.bitrate(now)
                bitrate = consumer.producer.bitrate
                consumer.repairs.adapt(bitrate if estimate is None else min(bitrate, estimate))
                for packet in consumer.resend(nack.sequences, now, self.round_trip):
                    self._transport.send_rtp(packet)

    def _on_key_frame_request(self, ssrc: int, now: float) -> None:
        """Requests a key frame; replays the latest one of a camera that heeds no requests."""
        for slot in self.slots.values():
            consumer = slot.consumer
            producer = consumer.producer
            if consumer.ssrc != ssrc or producer is None or consumer.sparse:
                continue
            if not slot.requests.allow(now):
                self.drops["key_frame_requests"] += 1
                continue
            producer.request_key_frame(now)
            if not producer.key_frames.heeded and now - self._replayed_at > _REPLAY_PAUSE_S and producer.replayable():
                self._replayed_at = now
                consumer.restart()
                self._fanout.start(consumer)

    # --- time

    def reports(self, now: float, *, due: bool) -> list[bytes]:
        """Returns the sender reports of all slots, or only of those that show something else since the last report."""
        found = []
        for consumer in self.consumers:
            producer = consumer.producer
            if producer is not None and (due or not consumer.reports.current):
                try:
                    found.append(consumer.sender_report(now))
                except Exception:  # noqa: BLE001  # the boundary of one camera's media: no viewer is to blame
                    producer.on_bug()
        return [report for report in found if report is not None]

    def tick(self, now: float) -> None:
        """Reads the latest report and adapts the layers; called some times a second."""
        videos = [w for w in self.slots.values() if w.track is not None and w.consumer.kind == "video"]
        if not videos or not (self._news or self._report or any(w.undecided for w in videos)):
            return  # true for most viewers most of the time
        self._news = False
        self._read_report(now)
        sent = sum(slot.consumer.octets for slot in self.slots.values())
        share = min(1.0, _MEASURED_OVER_S / max(now - self._sent_at, _MEASURED_OVER_S))
        self.estimate.on_sent(int(max(0, sent - self._sent) * share), now)  # not all of it came in the last second
        self._sent, self._sent_at = sent, now
        for slot in videos:
            self._adapt(slot, now)

    def _adapt(self, slot: SlotView, now: float) -> None:
        track, consumer = slot.track, slot.consumer
        if track is None:
            return
        producer, thin, enough = self._aim(slot, track, now)
        present, estimate = consumer.producer, self.carries
        # The slides are sent faster and faster and so measure the link: no need to try the whole stream.
        thinner = estimate is not None and estimate < producer.bitrate * _USED_SHARE
        sparse = thinner if consumer.sparse else thin and now < self._losing_until
        consumer.pace = self._pace()
        if present is producer:
            consumer.follow(None, now)
            if slot.repeat_at is not None and now >= slot.repeat_at:
                slot.repeat_at = None
                producer.request_key_frame(now)  # the first key frame met a full queue
        elif present is not None and (enough or present.bitrate < producer.bitrate):
            consumer.follow(self._fanout.branch(producer), now)  # shows the present layer until the other one starts
        else:
            consumer.attach(self._fanout.branch(producer), now)  # packets that are too many delay all others
            consumer.forget()
            self._fanout.start(consumer)
            slot.repeat_at = now + _DRAINED_S
        self._set_sparse(consumer, sparse, now)

    def _pace(self) -> float | None:
        """Returns the bytes per second that the estimate leaves to packets that are not live; None if unknown."""
        return None if self.carries is None else max(self.carries * _USED_SHARE, _MIN_BITRATE_BPS) / 8

    def _set_sparse(self, consumer: Consumer, sparse: bool, now: float) -> None:
        if sparse is not consumer.sparse:
            consumer.set_sparse(sparse)
            self._listener.on_sparse()
            if consumer.producer is not None:
                consumer.producer.request_key_frame(now)
        producer = consumer.producer
        if sparse and producer is not None and not self._fanout.slide(consumer) and now >= self._slide_at:
            self._slide_at = now + _SLIDE_PAUSE_S
            producer.request_key_frame(now)

    def _read_report(self, now: float) -> None:
        report, self._report = self._report, None
        if report is None or now < self._deaf_until:
            return
        data, came_at = report
        consumers = {consumer.ssrc: consumer for consumer in self.consumers}
        blocks = [
            block
            for message in rtcp.parse(data)
            if isinstance(message, rtcp.ReceiverReport)
            for block in message.reports
            if block.ssrc in consumers
        ]
        if not blocks:
            return
        found = [consumers[block.ssrc].reports.round_trip(block, came_at) for block in blocks]
        trips = [trip for trip in found if trip is not None]
        if trips:
            self.round_trip = min(trips)
        self._measure_loss(sum(block.highest for block in blocks), sum(block.lost for block in blocks), now)
        jitter = max(block.jitter / (consumers[block.ssrc].clock_rate or _VIDEO_CLOCK_HZ) for block in blocks)
        self.estimate.on_report(self.loss, min(trips, default=None), jitter, now)

    def _measure_loss(self, highest: int, lost: int, now: float) -> None:
        """Measures loss over a second or more: the share in one report may be that of a few packets only."""
        if self._counted is None:
            self._counted = now, highest, lost
        at, highest_before, lost_before = self._counted
        if now - at < _MEASURED_OVER_S:
            return
        self._counted = now, highest, lost
        expected = highest - highest_before
        self.loss = min(max(0.0, (lost - lost_before) / expected), 1.0) if 0 < expected < _MAX_EXPECTED_PACKETS else 0.0
        if self.loss > _HEAVY_LOSS_SHARE:
            self._losing_until = now + _LOSING_S
