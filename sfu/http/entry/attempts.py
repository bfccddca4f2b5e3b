"""The limit of logins with a password: few in a minute, from one address and in all.

Pure: the time comes in as an argument. Tokens need no limit, since nobody guesses one.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_S: Final = 60.0
PER_ADDRESS: Final = 5
IN_ALL: Final = 20


class Attempts:
    """The attempts of the last minute that did not succeed."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, str]] = deque()

    def begin(self, address: str, now: float) -> float | None:
        """Counts an attempt and returns None, or returns the seconds until another one is allowed.

        It counts from its begin, so that many at the same time are no way around the limit.
        """
        while self._recent and now - self._recent[0][0] >= WINDOW_S:
            self._recent.popleft()
        own = [at for at, other in self._recent if other == address]
        if len(own) >= PER_ADDRESS:
            return own[-PER_ADDRESS] + WINDOW_S - now
        if len(self._recent) >= IN_ALL:
            return self._recent[-IN_ALL][0] + WINDOW_S - now
        self._recent.append((now, address))
        return None

    def succeeded(self, address: str) -> None:
        """Takes back all attempts of an address, since its login was right."""
        self._recent = deque(attempt for attempt in self._recent if attempt[1] != address)
