"""Sender reports of one outgoing stream, and the round trip that a viewer's answers to them tell.

Owns the times at which the latest reports were sent. Never sends.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from sfu.media.formats import rtcp
from sfu.rtc.sdp.description import CNAME

_MAX_REPORTS: Final = 8
"""Reports that are remembered: a viewer's report refers to the last one that it got."""


class SenderReports:
    """The sender reports of one consumer (RFC 3550 section 6.4.1)."""

    def __init__(self) -> None:
        self.current = False
        """True once a report carried the present mapping of media time to wall time."""
        self._sent: deque[tuple[int, float]] = deque(maxlen=_MAX_REPORTS)  # LSR, and when it was sent

    def write(
        self, moment: tuple[int, int], ssrc: int, time_offset: int, *, packets: int, octets: int, now: float
    ) -> bytes:
        """Returns a report, to be sent at `now` (seconds of the loop's clock).

        `moment` is a wall time (64-bit NTP) and the producer's media time at that moment, to which `time_offset` is
        added; `packets` and `octets` are counted since the stream began.
        """
        self.current = True
        ntp, media_time = moment
        self._sent.append((ntp >> 16 & 0xFFFF_FFFF, now))
        report = rtcp.SenderReport(
            ssrc=ssrc,
            ntp=ntp & rtcp.NTP_MASK,
            media_time=(media_time + time_offset) & 0xFFFFFFFF,
            packets=packets & 0xFFFFFFFF,
            octets=octets & 0xFFFFFFFF,
        )
        return rtcp.sender_report(report, CNAME)

    def round_trip(self, block: rtcp.ReportBlock, now: float) -> float | None:
        """Returns the round trip, in seconds, from a report that came at `now`; None if the report does not tell.

        Uses our own clock: the wall time in our reports is the camera's.
        """
        sent_at = next((at for lsr, at in self._sent if lsr == block.lsr), None)
        trip = -1.0 if sent_at is None else now - sent_at - block.dlsr / 65536
        return trip if trip >= 0 else None
