"""The downlink: what one client is sent, and what it says of that.

Owns the client's slots, the answers to its requests, and the choice of what its link carries. Never forwards: `fanout`
does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

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

_ROUND_TRIP: Final = 0.1  # seconds, until the client's first report tells better
_VIDEO_CLOCK: Final = 90_000
_SHARE: Final = 0.8  # of what a thin link is thought to carry: the rest is for what is sent again
_LEAST_BITRATE: Final = 100_000
_SLIDE_PAUSE: Final = 1.0  # seconds between two requests for a slide
_MEASURED_OVER: Final = 1.0  # seconds
_MAX_EXPECTED: Final = 100_000  # packets between two reports; more is a new stream
_HEAVY_LOSS: Final = 0.1
_LOSING: Final = 3.0  # seconds for which heavy loss proves that a link is too thin, whatever made it look so
_DRAINED: Final = 1.2  # seconds after which a queue that was too much for a link has left it
_OLD_NEWS: Final = 1.5  # seconds for which a client that has moved still tells of what it lost on its way
_REPLAY_PAUSE: Final = 1.0  # seconds between two replays for a viewer that cannot decode what it gets


class SlotView:
    """What one slot shows: a track, in one of its layers."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.track: IncomingTrack | None = None
        self.wanted: str | None = None
        """The highest layer that the viewer asked for, by rid; None for the best."""
        self.size: Size | None = None
        """Its width and height in pixels of the viewer's screen; None while untold."""
        self.choice = LayerChoice()
        self.wishes = KeyFrameBudget()
        """How many of the viewer's requests for key frames are heeded."""
        self.repeat_at: float | None = None
        """When to ask for one more key frame of a lower layer, in seconds of the loop's clock."""

    def most(self, layers: Sequence[Layer]) -> int | None:
        """The highest of these layers that the viewer wants and that its window can show; None for no bound."""
        asked = next((at for at, (_, rid, _) in enumerate(layers) if rid == self.wanted), None)
        bounds = [] if self.wanted is None or asked is None else [asked]
        if self.size is not None and len(layers) > 1:
            fitting = layer_for_window(self.size, [producer.size() for producer, _, _ in layers])
            bounds += [] if fitting is None else [fitting]
        return min(bounds, default=None)

    @property
    def undecided(self) -> bool:
        """Whether time alone may change what is shown."""
        return self.consumer.sparse or (self.track is not None and len(self.track.rids) > 1)


class _Aim(NamedTuple):
    """The layer to show."""

    producer: Producer
    thin: bool
    """Whether its key frames are all that the link carries."""
    enough: bool
    """Whether it is as much as the viewer wants, whatever its link carries."""


class Downlink:
    """One client's slots. `on_sparse`: some slot has become a slide show, or is none any more."""

    def __init__(self, transport: Transport, fanout: Fanout, *, on_sparse: Callable[[], None]) -> None:
        self.windows: dict[str, SlotView] = {}
        self.estimate = LinkEstimate()
        self.round_trip = _ROUND_TRIP
        """Seconds to the client and back."""
        self.carries: int | None = None
        """bit/s that the link was estimated to carry when this last mattered; None while nothing is known."""
        self.drops = {"key_frame_requests": 0}
        self.loss = 0.0
        """Share of packets that did not reach the client, by its latest report."""
        self._transport = transport
        self._fanout = fanout
        self._on_sparse = on_sparse
        self._report: tuple[bytes, float] | None = None  # and when it came
        self._news = False
        self._sent = 0
        self._replayed_at = self._slide_at = self._losing_until = float("-inf")
        self._deaf_until = float("-inf")
        self._counted: tuple[float, int, int] | None = (float("-inf"), 0, 0)

    @property
    def consumers(self) -> list[Consumer]:
        """Of all slots, in the order of the sections."""
        return [window.consumer for window in self.windows.values()]

    @property
    def sparse(self) -> frozenset[str]:
        """The mids of slots that are slide shows."""
        return frozenset(mid for mid, window in self.windows.items() if window.consumer.sparse)

    # --- what is shown

    def negotiated(self, sections: Iterable[Agreed], now: float) -> None:
        """Takes over the slots of a (re-)offer."""
        before, self.windows = self.windows, {}
        for section in sections:
            if section.send is None:
                continue
            window = before.pop(section.mid, None)
            if window is None:
                window = SlotView(Consumer(section.mid, section.send, self._transport))
            else:
                window.consumer.negotiated(section.send)
                self._fanout.start(window.consumer)
            self.windows[section.mid] = window
        for window in before.values():
            window.consumer.attach(None, now)

    def want(self, mid: str, rid: str | None) -> None:
        """The viewer wants no layer above `rid` in this slot; None: the best that its link carries."""
        if (window := self.windows.get(mid)) is not None:
            window.wanted = rid
            self._news = True

    def resize(self, sizes: Mapping[str, Size]) -> None:
        """The viewer's windows of these slots have these sizes now: no layer is sent that one cannot show."""
        for mid in sizes.keys() & self.windows.keys():
            self.windows[mid].size = sizes[mid]
            self._news = True

    def show(self, mid: str, track: IncomingTrack | None, now: float) -> None:
        """Puts a track in a slot, or nothing: at once from its latest packets where these are kept."""
        window = self.windows.get(mid)
        if window is None:
            return
        if window.track is track and (track is None or window.consumer.producer in track.producers):
            return
        window.track, window.choice = track, LayerChoice()
        window.consumer.set_sparse(False)
        window.consumer.attach(None if track is None else self._aim(window, track, now).producer, now)
        self._fanout.start(window.consumer)

    def rerouted(self) -> None:
        """The transport leads elsewhere, or has other keys."""
        for window in self.windows.values():
            if window.consumer.group is not None:
                window.consumer.group.rerouted()

    def moved(self, now: float) -> None:
        """The client has come to another network: nothing is known of it, and what the old one swallowed is past."""
        if now < self._deaf_until:
            return  # it went on to a better path of the new network
        self.estimate = LinkEstimate()
        self._news = True
        self._counted, self._deaf_until = None, now + _OLD_NEWS
        self._losing_until = float("-inf")
        for window in self.windows.values():
            window.choice = LayerChoice()
            consumer = window.consumer
            if consumer.kind == "video" and consumer.producer is not None and not consumer.sparse:
                self._replayed_at = now
                consumer.restart()
                consumer.forget()  # or all that was lost would be sent again before anything new
                self._fanout.start(consumer)

    def _aim(self, window: SlotView, track: IncomingTrack, now: float) -> _Aim:
        layers = track.layers(now)
        wanted = window.most(layers)
        estimate = self.carries = self.estimate.bitrate(now)
        videos = sum(1 for other in self.windows.values() if other.track is not None and other.consumer.kind == "video")
        index = window.choice.update(
            None if estimate is None else estimate // max(videos, 1),
            self.estimate.congested,
            [bitrate for _, _, bitrate in layers],
            now,
            wanted=wanted,
        )
        return _Aim(layers[max(index, 0)][0], index == KEY_FRAMES, index == wanted)

    # --- what the client says

    def on_rtcp(self, data: bytes, said: Sequence[rtcp.Message], now: float) -> None:
        """One compound, and what it says. Reports are only kept: they are read when somebody wants to know."""
        if data[1] == rtcp.RECEIVER_REPORT:
            self._report = data, now
        for message in said:
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
        """A camera that does not heed requests is replayed: it is the only key frame to be had."""
        for window in self.windows.values():
            consumer = window.consumer
            producer = consumer.producer
            if consumer.ssrc != ssrc or producer is None or consumer.sparse:
                continue
            if not window.wishes.allow(now):
                self.drops["key_frame_requests"] += 1
                continue
            producer.request_key_frame(now)
            if not producer.key_frames.heeded and now - self._replayed_at > _REPLAY_PAUSE and producer.replayable():
                self._replayed_at = now
                consumer.restart()
                self._fanout.start(consumer)

    # --- time

    def tick(self, now: float) -> None:
        """Called some times a second."""
        videos = [w for w in self.windows.values() if w.track is not None and w.consumer.kind == "video"]
        if not videos or not (self._news or self._report or any(w.undecided for w in videos)):
            return  # most viewers, most of the time
        self._news = False
        self._read_report(now)
        sent = sum(window.consumer.octets for window in self.windows.values())
        self.estimate.on_sent(max(0, sent - self._sent), now)
        self._sent = sent
        for window in videos:
            self._adapt(window, now)

    def _adapt(self, window: SlotView, now: float) -> None:
        track, consumer = window.track, window.consumer
        if track is None:
            return
        producer, thin, enough = self._aim(window, track, now)
        present, estimate = consumer.producer, self.carries
        # The slides, sent ever faster, show what the link carries: no need to try.
        thinner = estimate is not None and estimate < producer.bitrate * _SHARE
        sparse = thinner if consumer.sparse else thin and now < self._losing_until
        consumer.pace = None if estimate is None else max(estimate * _SHARE, _LEAST_BITRATE) / 8
        if present is producer:
            consumer.follow(None, now)
            if window.repeat_at is not None and now >= window.repeat_at:
                window.repeat_at = None
                producer.request_key_frame(now)  # the first one met a full queue
        elif present is not None and (enough or present.bitrate < producer.bitrate):
            consumer.follow(producer, now)  # the present picture goes on until the other one is there
        else:
            consumer.attach(producer, now)  # what the link does not carry is in the way of what it does
            consumer.forget()
            self._fanout.start(consumer)
            window.repeat_at = now + _DRAINED
        self._set_sparse(consumer, sparse, now)

    def _set_sparse(self, consumer: Consumer, sparse: bool, now: float) -> None:
        if sparse is not consumer.sparse:
            consumer.set_sparse(sparse)
            self._on_sparse()
            if consumer.producer is not None:
                consumer.producer.request_key_frame(now)
        producer = consumer.producer
        if sparse and producer is not None and not self._fanout.slide(consumer) and now >= self._slide_at:
            self._slide_at = now + _SLIDE_PAUSE
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
        trips = [trip for block in blocks if (trip := consumers[block.ssrc].round_trip(block, came_at)) is not None]
        if trips:
            self.round_trip = min(trips)
        self._measure_loss(sum(block.highest for block in blocks), sum(block.lost for block in blocks), now)
        jitter = max(block.jitter / (consumers[block.ssrc].clock_rate or _VIDEO_CLOCK) for block in blocks)
        self.estimate.on_report(self.loss, min(trips, default=None), jitter, now)

    def _measure_loss(self, highest: int, lost: int, now: float) -> None:
        """Over a second or more: the share that a report tells itself may be that of a handful of packets."""
        if self._counted is None:
            self._counted = now, highest, lost
        at, highest_before, lost_before = self._counted
        if now - at < _MEASURED_OVER:
            return
        self._counted = now, highest, lost
        expected = highest - highest_before
        self.loss = min(max(0.0, (lost - lost_before) / expected), 1.0) if 0 < expected < _MAX_EXPECTED else 0.0
        if self.loss > _HEAVY_LOSS:
            self._losing_until = now + _LOSING
