"""Layer choice: the highest layer that a viewer's link carries, its window needs and the viewer asked for.

Owns the decision: down at once, up slowly, and only key frames on a link that does not carry the lowest layer. Never
measures a link, never switches anything itself and never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KEY_FRAMES: Final = -1
"""Stands for a layer's index if the link does not even carry the lowest: send key frames only, a slide show."""

_HEAD_ROOM_FACTOR = 1.15
_MIN_SHARE = 0.9
"""A layer is kept while the estimate is at least this share of its bitrate."""
_LOWEST_MIN_SHARE = 0.75
"""The same for the lowest layer. With some retransmission it is still better than a slide show."""
_PATIENCE_S = 1.5
_LOWEST_PATIENCE_S = 3.0
"""Time that a layer is kept on a congested link while the estimate is large enough for it."""

_WAIT_S = 2.5
_MAX_WAIT_S = 60.0
_HEAD_ROOM_SPEEDUP = 4
_HEAD_ROOM_MAX_WAIT_S = 5.0
"""An estimate that shows head-room shortens the wait, but not to zero: receivers' estimates can be wrong."""
_PROOF_S = 15.0
"""A trial has failed if the layer is lost again within this time. Slight overloads fill queues slowly."""
_GRACE_S = 3.5
"""After a raise the estimate still reflects the layer below, because it cannot exceed the sent bitrate by much."""
_SETTLE_S = 1.5
"""After a fall the queue must drain first, and the lower layer's key frame must arrive."""

_MAX_ENLARGEMENT_FACTOR = 1.2


class LayerChoice:
    """The choice of one viewer's layer of one camera.

    An estimate never exceeds the sent bitrate by much, so a higher layer is mostly reached by trial, after the link has
    been clean for a while: 2.5 s, doubled up to 60 s by each failed trial of that layer, and 2.5 s again after a
    successful one. Sending padding first was tried: it makes a receiver's own estimate fall, and takes longer.
    """

    def __init__(self) -> None:
        self._limit: int | None = None  # the highest layer that the link seems to carry; None while unknown
        self._waits: dict[int, float] = {}
        self._gained_at: dict[int, float] = {}
        self._quiet_since = 0.0
        self._congested_since: float | None = None
        self._grace_until = self._settled_at = 0.0
        self._started = False

    def update(
        self,
        estimate: int | None,
        congested: bool,
        layers: Sequence[int | None],
        now: float,
        *,
        wanted: int | None = None,
    ) -> int:
        """Returns the index of the layer to send, or `KEY_FRAMES`.

        `estimate` is this camera's share of the link, in bit/s. `layers` are the bitrates of its layers, lowest first,
        None or 0 for a layer that does not flow. `wanted` is the highest layer worth sending. To be called several
        times a second, and whenever the estimate falls.
        """
        flowing = {index: bitrate for index, bitrate in enumerate(layers) if bitrate and bitrate > 0}
        if not flowing:
            return max(0, len(layers) - 1 if wanted is None else min(wanted, len(layers) - 1))
        top = max((index for index in flowing if wanted is None or index <= wanted), default=min(flowing))
        if not self._started:
            self._start(estimate, flowing, now)
        self._note(congested, now)
        present = self._present(flowing, top)
        if self._overloaded(present, estimate, congested, flowing, now):
            self._lower(present, _below(present, estimate, flowing), now)
        elif present < top and not _short(estimate, flowing.get(present, 0)):
            self._raise(present, top, estimate, flowing, now)
        return self._present(flowing, top)

    def _start(self, estimate: int | None, flowing: dict[int, int], now: float) -> None:
        """Starts with the top layer, or the one that a known link carries; never with a slide show."""
        self._started = True
        self._quiet_since = now
        self._grace_until = now + _GRACE_S
        if estimate is not None:
            fitting = [index for index, bitrate in flowing.items() if bitrate <= estimate]
            self._limit = max(fitting, default=min(flowing))

    def _note(self, congested: bool, now: float) -> None:
        if not congested:
            self._congested_since = None
            return
        self._quiet_since = now
        if self._congested_since is None:
            self._congested_since = now

    def _present(self, flowing: dict[int, int], top: int) -> int:
        if self._limit is None:
            return top
        return max((index for index in flowing if index <= min(self._limit, top)), default=KEY_FRAMES)

    def _overloaded(
        self, present: int, estimate: int | None, congested: bool, flowing: dict[int, int], now: float
    ) -> bool:
        if present == KEY_FRAMES:
            return False
        lowest = present == min(flowing)
        if self._congested_since is not None and now >= self._settled_at:
            if not lowest and (estimate is None or _short(estimate, flowing[present], 1.0)):
                return True
            if now - self._congested_since >= (_LOWEST_PATIENCE_S if lowest else _PATIENCE_S):
                return True
        if now < self._grace_until and not congested:
            return False
        return _short(estimate, flowing[present], _LOWEST_MIN_SHARE if lowest else _MIN_SHARE)

    def _lower(self, present: int, target: int, now: float) -> None:
        for layer in range(target + 1, present + 1):
            failed = now - self._gained_at.get(layer, -_PROOF_S) < _PROOF_S
            self._waits[layer] = min(2 * self._wait(layer), _MAX_WAIT_S) if failed else _WAIT_S
        self._limit = target
        self._quiet_since = now
        self._settled_at = now + _SETTLE_S
        self._congested_since = None

    def _raise(self, present: int, top: int, estimate: int | None, flowing: dict[int, int], now: float) -> None:
        above = [index for index in sorted(flowing) if present < index <= top]
        quiet = now - self._quiet_since
        fitting = [index for index in above if estimate is not None and estimate >= flowing[index] * _HEAD_ROOM_FACTOR]
        ready = [
            index for index in fitting if quiet >= min(self._wait(index) / _HEAD_ROOM_SPEEDUP, _HEAD_ROOM_MAX_WAIT_S)
        ]
        target = max(ready, default=above[0] if quiet >= self._wait(above[0]) else present)
        if target == present:
            return
        for layer in range(present + 1, target + 1):
            self._gained_at[layer] = now
        self._limit = target
        self._quiet_since = now
        self._grace_until = now + _GRACE_S

    def _wait(self, layer: int) -> float:
        return self._waits.get(layer, _WAIT_S)


def _short(estimate: int | None, bitrate: int, share: float = _MIN_SHARE) -> bool:
    return estimate is not None and estimate < bitrate * share


def _below(present: int, estimate: int | None, flowing: dict[int, int]) -> int:
    """Returns the highest layer below `present` that the link carries."""
    lower = [index for index in sorted(flowing) if index < present]
    if not lower:
        return KEY_FRAMES
    if estimate is None:
        return lower[-1]
    fitting = [index for index in lower if flowing[index] <= estimate]
    if fitting:
        return fitting[-1]
    return KEY_FRAMES if _short(estimate, flowing[lower[0]], _LOWEST_MIN_SHARE) else lower[0]


def layer_for_window(window: tuple[int, int], sizes: Sequence[tuple[int, int] | None]) -> int | None:
    """Returns the lowest layer that fills a window without visible enlargement; None if there is no such layer.

    `window` is its width and height in pixels of the screen; the whole picture is fitted into it. `sizes` are those of
    the layers, lowest first, None where unknown. Long sides are compared with long sides, because phones turn pictures.
    """
    for index, size in enumerate(sizes):
        if size is None or min(size) <= 0:
            continue
        if min(max(window) / max(size), min(window) / min(size)) <= _MAX_ENLARGEMENT_FACTOR:
            return index
    return None
