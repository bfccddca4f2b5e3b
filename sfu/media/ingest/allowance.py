"""The most that one client may send, and the SSRCs that it may use. Pure; never ends a session itself.

A client with valid keys can still send without end. Up to the bounds here it costs others nothing; what is beyond them
is dropped before it is parsed, and who goes on with it is ended by the owner of the uplink.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final

from sfu.media.token_bucket import TokenBucket

ABUSES: Final = {
    "ssrcs": "more than 256 new SSRCs in a minute",
    "bitrate": "far more was sent than the bitrate that was asked for, or than limits.camera_bitrate",
}
"""Why a client may be ended, in words."""
ABUSE_PAUSE_S: Final = 60.0
"""Seconds after which such a client may try again."""
_ASKED_FACTOR: Final = 3
"""A camera may send this many times what it was asked for: encoders follow late, and repairs come on top."""
_SOUND_BPS: Final = 1_000_000
"""What the sound may add: it is never asked to send less."""
_BURST_S: Final = 2.0
_MIN_BURST_BYTES: Final = 2_000_000
"""Key frames are far larger than other frames; also after a pause in which a camera collected some."""
_LARGE_PACKET_BYTES: Final = 1400
_OVERHEAD_BYTES: Final = 100
"""Headers of a packet, and its part of the work: a flood of small packets is a flood, too."""
_CALM_S: Final = 2.0
"""Time without a dropped packet after which a client has stopped sending too much."""
_PATIENCE_S: Final = 30.0
"""Time for which a client may go on sending too much."""
_SSRCS_PER_MINUTE: Final = 256
_OTHER_SSRCS: Final = 128
"""Remembered SSRCs without a destination: a viewer of 64 sections may send RTCP from as many."""


def bound_bps(asked: int | None, limit: int) -> int:
    """Returns the bit/s that a client may send: by what it was asked for, or `limit` if it cannot be asked (None)."""
    return limit if asked is None else _ASKED_FACTOR * asked + _SOUND_BPS


class Allowance:
    """The packets that one client may send: they are counted, and their bytes are looked at when a grant is used up."""

    def __init__(self, limit: int) -> None:
        """`limit` is a bitrate, in bit/s."""
        self.packets = 0
        """Packets that may come before `over` has to be asked; the caller subtracts those that came."""
        self._granted = 0
        self._octets = 0
        self._over_since = self._over_at = float("-inf")
        self._bucket = TokenBucket(limit / 8, 0.0)
        self.set(limit)
        self._bucket.tokens = self._bucket.burst

    def set(self, limit: int) -> None:
        """Sets the bitrate, in bit/s; what has come so far still counts."""
        self._bucket.rate = limit / 8
        self._bucket.burst = max(self._bucket.rate * _BURST_S, _MIN_BURST_BYTES)

    def over(self, count: int, octets: int, now: float) -> bool:
        """Returns True if the `count` packets just subtracted are too many, and must be dropped.

        `octets` are the bytes of payload that have been taken from the client so far.
        """
        bucket = self._bucket
        taken = self._granted - self.packets - count
        bucket.tokens -= max(0, octets - self._octets) + taken * _OVERHEAD_BYTES
        bucket.fill(now)  # after the packets that came meanwhile, or the burst would not cover them
        self._octets = octets
        if bucket.tokens > 0:
            self._granted = int(bucket.tokens / _LARGE_PACKET_BYTES) + 1
            self.packets = self._granted - count
            return False
        self._granted = self.packets = 0
        if now - self._over_at > _CALM_S:
            self._over_since = now
        self._over_at = now
        return True

    def abused(self, now: float) -> bool:
        """True if the client has sent too much for half a minute without a stop."""
        return now - self._over_at <= _CALM_S and self._over_at - self._over_since >= _PATIENCE_S


class SsrcAllowance:
    """The SSRCs that one client may use: libsrtp searches a list of all that it has seen for each packet.

    256 at once and 256 a minute; a browser with all layers and retransmissions has fewer than 20.
    """

    def __init__(self, forget: Callable[[int], None]) -> None:
        """`forget` frees what is kept for a SSRC elsewhere."""
        self.exceeded = False
        """True if the client has used more."""
        self._forget = forget
        self._bucket = TokenBucket(_SSRCS_PER_MINUTE / 60, _SSRCS_PER_MINUTE)
        self._others: dict[int, None] = {}  # without a destination

    def met(self, ssrc: int, routed: Set[int], now: float) -> None:
        """Counts a SSRC that is not in use so far; `routed` are those whose destination is kept."""
        if ssrc in self._others:
            return
        self._bucket.fill(now)
        self._bucket.tokens -= 1
        self.exceeded = self.exceeded or self._bucket.tokens < 0
        if ssrc in routed:
            return
        self._others[ssrc] = None
        if len(self._others) > _OTHER_SSRCS:
            oldest = next(iter(self._others))
            del self._others[oldest]
            self.left(oldest, routed)

    def left(self, ssrc: int, routed: Set[int]) -> None:
        """Notes that a SSRC is no longer kept."""
        if ssrc not in routed and ssrc not in self._others:
            self._forget(ssrc)
