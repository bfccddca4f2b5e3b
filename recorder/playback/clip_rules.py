"""The bounds of clips that are made for others.

Owns these values. Never looks at a disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class ClipRules:
    """The longest clip in microseconds, and where clips are made: None for the disk of the recordings.

    `keep_free`: bytes of that disk that a clip leaves free.
    """

    longest_us: int = _DAY_US
    keep_free: int = 0
    scratch: Path | None = None
