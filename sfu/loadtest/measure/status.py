"""States that the workers of a load test report to the parent process.

Plain values that cross a pipe; no behaviour. Owns their shapes, never how they come about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sfu.clients.histogram import Histogram
from sfu.loadtest.measure.counts import StreamCounts


@dataclass(frozen=True, slots=True)
class CamerasStatus:
    """State of all cameras. `fault`: the reason why no camera will come up, None if there is none."""

    up: int
    failed: Mapping[str, int]
    sent: int
    key_frame_requests: int
    cpu_seconds: float
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class ViewersStatus:
    """State of all viewers. `latency` covers the time since the previous poll, the other values the whole run.

    `join` and `first_packet` cover the viewers that joined since the latest `SetViewerCount`.
    """

    wanted: int
    up: int
    failed: Mapping[str, int]
    """Viewers that did not connect or were disconnected by the server, by reason."""
    counts: StreamCounts
    latency: Histogram
    join: Histogram
    """From the offer sent to connected."""
    first_packet: Histogram
    """From the offer sent to the first packet."""
    checked: int
    corrupt: int
    dropped: int
    """Packets lost in the load test's own sockets, because it read them too late."""
    cpu_seconds: float
    fault: str | None = None

    @property
    def settled(self) -> bool:
        """Returns True if every wanted viewer is either up or has failed."""
        return self.up + sum(self.failed.values()) >= self.wanted


@dataclass(frozen=True, slots=True)
class ViewerCounts:
    """Packets that one viewer received between its two newest marks.

    `camera` is the number of the camera it watches, None for a camera that is not part of the test.
    """

    camera: int | None
    counts: StreamCounts


@dataclass(frozen=True, slots=True)
class SentCounts:
    """Packets that each camera, by number, sent between its two newest marks."""

    packets: Mapping[int, int] = field(default_factory=dict)
