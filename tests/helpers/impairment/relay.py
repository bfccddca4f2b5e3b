"""The handle of a bad network: `async with serving(...)` behind it, browsers before it, and each client's line by name.

Owns the relay's process. The port is known before a server runs: it binds 127.0.0.1 and this port, and announces
`host`, so that all that clients send and get passes through here.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.helpers.impairment.link import Line
from tests.helpers.impairment.wire import enlarged

_ROOT = Path(__file__).parents[3]
_PATIENCE_S = 20.0

Counters = dict[str, dict[str, dict[str, int]]]
"""Line's name -> "up", "down" (see `Impairment`) and "wire" -> counter -> packets."""


class Relay:
    """`with Relay() as relay`. Orders hold when they return; KeyError for a line that nobody has."""

    host = "127.0.0.2"

    def __init__(self, *, rest: Line | None = None, seed: int = 1, server: tuple[str, int] | None = None) -> None:
        """`rest` is the line of clients that are given no other; `server` where not 127.0.0.1 and the relay's port."""
        self._listening = enlarged(_listening_socket(self.host))
        self.port: int = self._listening.getsockname()[1]
        self._start = (server or ("127.0.0.1", self.port), rest or Line(), seed)

    @property
    def settings(self) -> dict[str, Any]:
        """Returns the settings of a server behind the relay, for `serving`."""
        return {"media__port": self.port, "media__bind": "127.0.0.1", "media__announce": self.host}

    def __enter__(self) -> Self:
        self._control, theirs = Pipe()
        numbers = (theirs.fileno(), self._listening.fileno())
        command = [sys.executable, "-m", "tests.helpers.impairment.wire", *map(str, numbers)]
        self._process = subprocess.Popen(command, cwd=_ROOT, pass_fds=numbers)
        theirs.close()
        self._listening.close()
        self._control.send(self._start)
        self.counters()  # it answers once it runs
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._control.close()
        self._process.wait(_PATIENCE_S)

    def set(self, name: str, line: Line, ufrags: Sequence[str] = ()) -> None:
        """Applies these impairments to packets that enter the line from now on.

        Clients get lines named client-0, client-1 ... as they appear; those of `ufrags` (their own, of their offers)
        are put on the line of this name instead, a new one or one that has been there before.
        """
        self._order("set", name, line, tuple(ufrags))

    def move(self, name: str) -> None:
        """The client comes from another address from now on, and hears nothing that is sent to the old one."""
        self._order("move", name)

    def leave(self, name: str) -> None:
        """The addresses that the client has now are dead: it has left that network and must come from new ones."""
        self._order("leave", name)

    def counters(self) -> Counters:
        found: Counters = self._order("counters")
        return found

    def _order(self, *order: object) -> Any:
        self._control.send(order)
        assert self._control.poll(_PATIENCE_S), f"the relay is deaf: {order}"
        done, value = self._control.recv()
        if not done:
            raise KeyError(value)
        return value


def _listening_socket(host: str) -> socket.socket:
    """On a port that is free at 127.0.0.1 too."""
    while True:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", sock.getsockname()[1]))
            except OSError:
                sock.close()
                continue
        return sock
