"""Which version of a camera a viewer gets: the highest layer that its link carries, its window needs and it asked for.

Owns the decision alone: down at once, up slowly, and nothing but key frames on a link too thin for the lowest layer.
Never measures a link, never switches anything itself and never reads a clock: `now` comes in, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KEY_FRAMES: Final = -1
"""In place of a layer's index: the link does not carry even the lowest, so send key frames alone, a slide show."""

_HEAD_ROOM = 1.15
_SHORTFALL = 0.9
_SHORTFALL_OF_LOWEST = 0.75
"""What the estimate may lack to the lowest layer: retransmission fills a hole better than a slide show does."""
_PATIENCE_S = 1.5
_PATIENCE_WITH_LOWEST_S = 3.0
"""How long a layer is kept on a link that is congested although the estimate says that it carries it."""

_WAIT_S = 2.5
_MAX_WAIT_S = 60.0
_SHOWN_SHARE = 4
_MAX_WAIT_SHOWN_S = 5.0
"""An estimate that shows the head-room shortens the wait; not to nothing, as receivers' estimates lie."""
_PROOF_S = 15.0
"""A layer lost sooner than this after it was gained was a failed trial: slight overloads fill queues slowly."""
_GRACE_S = 3.5
"""After a raise the estimate still tells of the layer below: nobody can have measured more than was sent."""
_SETTLE_S = 1.5
"""After a fall the queue still has to drain, and the lower layer's key frame to come."""

_MAX_ENLARGEMENT = 1.2


class LayerChoice:
    """Chooses one viewer's layer of one camera.

    An estimate never shows much more than what is sent, so a higher layer is mostly gained by trial: once the link has
    been clean for a while, doubling from 2.5 s to 60 s with each trial of that layer that fails, and 2.5 s again after
    one that does not. Padding in place of a trial was tried: it makes a receiver's own estimate fall, and comes later.
    """

    def __init__(self) -> None:
        self._limit: int | None = None  # the highest layer the link is thought to carry; None before it was ever known
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
        """The index of the layer to aim for, or `KEY_FRAMES`.

        `estimate` is the share of the link, in bit/s, that is this camera's; `layers` are the bitrates of its layers,
        lowest first, None or 0 for one that does not flow; `wanted` is the highest layer worth sending. To be called
        several times a second, and whenever the estimate falls.
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
        """A new viewer gets the top layer, unless its link is known already; never a slide show untried."""
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
            if now - self._congested_since >= (_PATIENCE_WITH_LOWEST_S if lowest else _PATIENCE_S):
                return True
        if now < self._grace_until and not congested:
            return False
        return _short(estimate, flowing[present], _SHORTFALL_OF_LOWEST if lowest else _SHORTFALL)

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
        shown = [index for index in above if estimate is not None and estimate >= flowing[index] * _HEAD_ROOM]
        ready = [index for index in shown if quiet >= min(self._wait(index) / _SHOWN_SHARE, _MAX_WAIT_SHOWN_S)]
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


def _short(estimate: int | None, bitrate: int, shortfall: float = _SHORTFALL) -> bool:
    return estimate is not None and estimate < bitrate * shortfall


def _below(present: int, estimate: int | None, flowing: dict[int, int]) -> int:
    """The highest layer under `present` that the link carries."""
    lower = [index for index in sorted(flowing) if index < present]
    if not lower:
        return KEY_FRAMES
    if estimate is None:
        return lower[-1]
    fitting = [index for index in lower if flowing[index] <= estimate]
    if fitting:
        return fitting[-1]
    return KEY_FRAMES if _short(estimate, flowing[lower[0]], _SHORTFALL_OF_LOWEST) else lower[0]


def layer_for_window(window: tuple[int, int], sizes: Sequence[tuple[int, int] | None]) -> int | None:
    """The lowest layer that fills a window without visible enlargement; None if no layer is known to, so no cap.

    `window` is its width and height in pixels of the screen, into which the picture is fitted whole; `sizes` are those
    of the layers, lowest first, None where unknown. Long sides are compared with long ones: phones turn pictures.
    """
    for index, size in enumerate(sizes):
        if size is None or min(size) <= 0:
            continue
        if min(max(window) / max(size), min(window) / min(size)) <= _MAX_ENLARGEMENT:
            return index
    return None
