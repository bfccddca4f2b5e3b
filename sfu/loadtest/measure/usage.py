"""CPU and memory of a process and its descendants, from Linux's /proc.

Owns the reading of /proc. Never knows what the processes do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU and memory of some processes."""

    cpu_seconds: float
    """CPU time since their start."""
    rss_bytes: int
    """Resident memory at present."""


def usage(pid: int, *, proc: Path = Path("/proc")) -> Usage | None:
    """Returns the usage of `pid` and all its descendants; None if there is no such process or no /proc."""
    try:
        own = _one(pid, proc)
    except (OSError, ValueError, IndexError):
        return None
    below = [found for child in _children(pid, proc) if (found := usage(child, proc=proc)) is not None]
    return Usage(
        own.cpu_seconds + sum(child.cpu_seconds for child in below),
        own.rss_bytes + sum(child.rss_bytes for child in below),
    )


def _one(pid: int, proc: Path) -> Usage:
    # The name in brackets may contain spaces. The fields after it are those of proc(5) from number 3, the state.
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    pages = int((proc / str(pid) / "statm").read_text().split()[1])
    ticks = int(fields[11]) + int(fields[12])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


def _children(pid: int, proc: Path) -> list[int]:
    try:
        tasks = list((proc / str(pid) / "task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
