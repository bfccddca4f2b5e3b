"""The SSRCs that the server sends with. Never knows who is sent to."""

from __future__ import annotations

import secrets
from collections.abc import Callable


def slot_ssrcs() -> Callable[[int], int]:
    """Returns a function that draws a random SSRC for each slot number, and gives the same number the same one.

    SSRCs need to differ within one transport only (RFC 3550 section 8), so one series serves all participants.
    """
    drawn: list[int] = []

    def ssrc(number: int) -> int:
        while len(drawn) <= number:
            drawn.extend({secrets.randbelow(0xFFFFFFFE) + 1} - set(drawn))
        return drawn[number]

    return ssrc
