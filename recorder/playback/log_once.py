"""Messages that are logged once, however often their cause comes back.

Owns the memory of what was logged: of the latest keys only, so that remote names cannot fill it. Never logs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_MAX_KEYS: Final = 1000


class LogOnce:
    """The causes that were logged."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, None] = OrderedDict()

    def is_new(self, key: Hashable) -> bool:
        """Returns True the first time that a key is given."""
        new = key not in self._known
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > _MAX_KEYS:
            self._known.popitem(last=False)
        return new
