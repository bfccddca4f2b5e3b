"""Prometheus metrics: the counters of all parts, read at each request.

Owns their names and labels. Rooms are limited in number and may be labels; peers never are. Never counts anything.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sfu.media.forward.fanout import Fanout
from sfu.media.ingest.starts import Problem
from sfu.rooms.server import RoomServer
from sfu.rooms.status import drop_counts, repair_counts
from sfu.rtc.net.port import UdpPort
from sfu.signaling.link import BrokerLink
from sfu.signaling.topics import Role

_ROLES: Final = tuple(role.value for role in Role)


class RecordingCounters(Protocol):
    """The counters of the recorder."""

    @property
    def active(self) -> int:
        """Number of producers that are being recorded."""

    @property
    def octets(self) -> int:
        """Bytes written to segments."""

    def drops(self) -> Mapping[str, int]:
        """Returns the packets and units that were not recorded, by reason."""

    def failures(self) -> Mapping[str, int]:
        """Returns the number of failed recordings, by reason."""

    def deletions(self) -> Mapping[str, int]:
        """Returns the number of deleted segments, by reason."""

    @property
    def age_doubted(self) -> bool:
        """True while nothing is deleted by age, because the clock may be wrong."""

    @property
    def unreadable(self) -> int:
        """Number of files and folders of recordings that cannot be read."""


class Metrics(Collector):
    """The metrics of one server."""

    def __init__(
        self,
        server: RoomServer,
        fanout: Fanout,
        port: UdpPort,
        link: BrokerLink,
        recordings: RecordingCounters,
        *,
        http: Callable[[], Mapping[str, int]],
    ) -> None:
        self._server = server
        self._fanout = fanout
        self._port = port
        self._link = link
        self._recordings = recordings
        self._http = http
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)  # memory, descriptors, CPU time

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Yields one family for each metric."""
        participants = self._server.participants
        roles = Counter(leaf.role.value for leaf in participants)
        yield GaugeMetricFamily("sfu_tasks", "asyncio tasks of the event loop", value=len(asyncio.all_tasks()))
        yield _gauge("sfu_participants", "present sessions", {role: roles[role] for role in _ROLES}, "role")
        yield GaugeMetricFamily("sfu_mqtt_connected", "1 while the broker is connected", value=self._link.connected)
        yield _counter("sfu_mqtt_events", "events of the broker link", self._link.counters, "event")
        yield _counter(
            "sfu_signalling", "signalling events: sessions, refusals, ignored messages", self._server.counters, "event"
        )
        yield _counter("sfu_http_events", "refused or failed HTTP requests and connections", self._http(), "event")
        yield CounterMetricFamily("sfu_udp_received", "datagrams received", value=self._port.received)
        yield _counter("sfu_udp_dropped", "received datagrams that were dropped", self._port.drops, "reason")
        yield CounterMetricFamily("sfu_rtp_forwarded", "packets passed to the kernel", value=self._fanout.forwarded)
        yield _counter("sfu_rtp_refused", "packets that the kernel refused", self._fanout.refused(), "errno")
        yield _counter("sfu_rtp_dropped", "packets that were not forwarded to a consumer", self.drops(), "reason")
        yield _counter("sfu_rtp_repairs", "loss recovery: requests and retransmissions", self.repairs(), "event")
        problems = [trouble.problem for each in participants.values() for trouble in each.uplink.problems.values()]
        yield _gauge(
            "sfu_track_problems",
            "tracks that can be neither shown nor recorded",
            {problem.value: problems.count(problem) for problem in Problem},
            "problem",
        )
        bitrates, sparse = self._rooms()
        yield _gauge("sfu_room_bitrate", "bit/s that the producers of a room send now", bitrates, "room")
        yield _gauge(
            "sfu_room_slide_shows", "slots that get key frames only, by the room of the viewer", sparse, "room"
        )

        yield from self._of_recordings()

    def _of_recordings(self) -> Iterable[Metric]:
        recordings = self._recordings
        yield GaugeMetricFamily("sfu_recordings", "producers that are being recorded", value=recordings.active)
        yield CounterMetricFamily("sfu_recordings_written_bytes", "bytes written to segments", value=recordings.octets)
        yield _counter("sfu_recordings_dropped", "packets and units not recorded", recordings.drops(), "reason")
        yield _counter("sfu_recordings_failures", "recordings that failed", recordings.failures(), "reason")
        yield _counter("sfu_recordings_deleted", "segments deleted", recordings.deletions(), "reason")
        waits = int(recordings.age_doubted)
        yield GaugeMetricFamily("sfu_recordings_age_waits", "1 while the clock is too doubtful for ages", value=waits)
        unreadable = recordings.unreadable
        yield CounterMetricFamily(
            "sfu_recordings_unreadable", "files and folders that cannot be read", value=unreadable
        )

    def repairs(self) -> Mapping[str, int]:
        """Returns counts of loss recovery by event, for all sessions there were."""
        total: Counter[str] = Counter(self._server.repairs)
        for participant in self._server.participants.values():
            total.update(repair_counts(participant))
        return total

    def _rooms(self) -> tuple[Counter[str], Counter[str]]:
        bitrates: Counter[str] = Counter()
        sparse: Counter[str] = Counter()
        for leaf, participant in self._server.participants.items():
            bitrates[leaf.room] += sum(producer.bitrate for producer in participant.uplink.producers)
            sparse[leaf.room] += len(participant.downlink.sparse)
        return bitrates, sparse

    def drops(self) -> Mapping[str, int]:
        """Returns counts of dropped packets by reason, for all sessions there were."""
        total: Counter[str] = Counter(self._server.drops)
        for participant in self._server.participants.values():
            total.update(drop_counts(participant))
        return total


def _gauge(name: str, text: str, values: Mapping[str, int], label: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counter(name: str, text: str, values: Mapping[str, int], label: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
