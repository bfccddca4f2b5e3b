"""CPU and memory of a process and its children, from Linux's /proc. Knows nothing of what they do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """So far, and now."""

    cpu_seconds: float
    rss_bytes: int


def usage(pid: int, *, proc: Path = Path("/proc")) -> Usage | None:
    """Of `pid` and all its descendants; None when there is no such process, or no /proc."""
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
    # the name in brackets may hold spaces; after it come the state and what proc(5) counts from 3
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
