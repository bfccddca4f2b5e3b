"""A network of its own beside this machine's: a namespace behind a virtual cable, whose faults a test makes.

Owns the namespace and the cable. Needs root and the program `ip`; where it may not be made the test is skipped, but
fails in CI.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import socket
import subprocess
from collections.abc import Iterator

import pytest

from sfu.rtc.net.port import UdpPort
from tests.helpers.programs import need

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


class Lan:
    """`server` is this machine's address there; `host` is that of the peer behind the cable."""

    def __init__(self, mtu: int) -> None:
        self.name = f"sfu{random.randrange(1 << 24):06x}"
        net = f"10.213.{random.randrange(256)}"
        self.server, self.host = f"{net}.1", f"{net}.2"
        self._net, self._inside = f"{net}.0/24", f"{self.name}i"
        self._run("ip", "netns", "add", self.name)
        peer = ("peer", "name", self._inside, "netns", self.name)
        self._run("ip", "link", "add", self.name, "mtu", str(mtu), "type", "veth", *peer, "mtu", str(mtu))
        self._run("ip", "address", "add", f"{self.server}/24", "dev", self.name)
        # Without the cable nothing may go out by another interface instead.
        self._run("ip", "route", "add", "unreachable", self._net, "metric", "4000000000")
        self._run("ip", "-n", self.name, "address", "add", f"{self.host}/24", "dev", self._inside)
        self._run("ip", "-n", self.name, "link", "set", self._inside, "up")
        self.up()

    def up(self) -> None:
        """Plugs the cable in."""
        self._run("ip", "link", "set", self.name, "up")

    def down(self) -> None:
        """Takes the interface down, as when a cable is pulled or Wi-Fi goes away."""
        self._run("ip", "link", "set", self.name, "down")

    def slow(self, rate: str) -> None:
        """Limits the way to `host` to a rate of `tc` ("100kbit"), with a queue of 100 kB."""
        self._run("tc", "qdisc", "replace", "dev", self.name, *f"root tbf rate {rate} burst 3000 limit 100000".split())

    def fast(self) -> None:
        """Undoes `slow`."""
        self._run("tc", "qdisc", "del", "dev", self.name, "root")

    def port(self) -> UdpPort:
        """Opens a port of `host`, bound to all of its addresses."""
        with open(f"/run/netns/{self.name}") as there, open("/proc/thread-self/ns/net") as here:  # noqa: PTH123
            enter = ctypes.CDLL(None, use_errno=True).setns
            assert enter(there.fileno(), _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
            try:
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            finally:
                assert enter(here.fileno(), _NEW_NETWORK) == 0
        sock.setblocking(False)
        sock.bind(("", 0))
        return UdpPort([sock])

    def close(self) -> None:
        """Ends the namespace, and with it the cable once its last socket is closed."""
        subprocess.run(["ip", "route", "del", "unreachable", self._net], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextlib.contextmanager
def lan(*, mtu: int = 1500) -> Iterator[Lan]:
    """Makes a cable that takes packets of up to `mtu` bytes with their headers."""
    need("ip")
    if os.geteuid():
        pytest.skip("needs root, for a network namespace")
    try:
        made = Lan(mtu)
    except OSError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"needs a network namespace: {error}")
    try:
        yield made
    finally:
        made.close()
