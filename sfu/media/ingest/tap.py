"""What a recording is to a producer.

Owns nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sfu.media.formats.rtp import Packet
    from sfu.media.ingest.producer import Producer


class Tap(Protocol):
    """Somebody who takes a producer's packets as they are, without being sent anything."""

    def packet(self, producer: Producer, packet: Packet, now: float) -> None:
        """One packet came, late ones too, with its index. Must be quick and never raise."""

    def report(self, producer: Producer, ntp: int, media_time: int, now: float) -> None:
        """At `ntp` (64-bit NTP) the track's media time was `media_time`."""
