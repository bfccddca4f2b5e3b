"""The servers of this user on this machine: what each asks for on its leaves, by its broker and base.

Owns that file, which a server writes at its start and the client commands read. It has no secret, and says nothing
about servers on other machines.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sfu.private_files import write_private

_FILE: Final = "leaves.json"
_LOCK: Final = "leaves.lock"
_MAX_PLACES: Final = 64
"""The latest starts: a demo takes another port each time."""
_LOOPBACK: Final = "127.0.0.1"
_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


def place(host: str, port: int, base: str) -> str:
    """Returns the name of a broker and a base. All names and addresses of this machine's loopback mean the same."""
    return f"{_normal(host)}:{port} {base}"


def note(directory: Path, places: Mapping[str, str]) -> None:
    """Notes what a server asks for at its places; earlier notes of the same places are replaced. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(directory / _LOCK, os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = {name: asked for name, asked in _read(directory / _FILE).items() if name not in places}
        latest = dict([*known.items(), *places.items()][-_MAX_PLACES:])
        write_private(directory / _FILE, json.dumps(latest, indent=1))


def asked(directory: Path, name: str) -> str | None:
    """Returns what this machine's server asks for at a place; None if it serves none there."""
    return _read(directory / _FILE).get(name)


def all_asked(directory: Path) -> frozenset[str]:
    """Returns all that this machine's servers ask for."""
    return frozenset(_read(directory / _FILE).values())


def is_loopback(host: str) -> bool:
    """Returns True if a server that listens on this host is reached from this machine alone."""
    name = host.lower().rstrip(".").strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in _LOCAL_NAMES


def _normal(host: str) -> str:
    name = host.lower().rstrip(".").strip("[]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return _LOOPBACK if name in _LOCAL_NAMES else name
    return _LOOPBACK if address.is_loopback or address.is_unspecified else str(address)


def _read(path: Path) -> dict[str, str]:
    """Returns the notes; none if there are none that can be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: asked for name, asked in found.items() if isinstance(asked, str)}
