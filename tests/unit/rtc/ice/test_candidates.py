"""The remote candidates that a full agent sends checks to: packets to all others could be an attack."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtc.ice import candidates


def line(host: str, port: int = 40000, kind: str = "host", component: int = 1, transport: str = "udp") -> str:
    return f"candidate:1 {component} {transport} 2130706431 {host} {port} typ {kind}"


@pytest.mark.parametrize("host", ["8.8.8.8", "2600::1", "192.168.1.9", "10.0.0.1", "127.0.0.1", "::1", "fd00::2"])
@pytest.mark.parametrize("kind", ["host", "srflx", "relay"])
def test_addresses_of_peers_are_checked(host: str, kind: str) -> None:
    assert candidates.parse(line(host, kind=kind), allow_private=True).host == host


@pytest.mark.parametrize(
    "host",
    ["192.168.1.9", "10.0.0.1", "172.16.0.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "::1", "fd00::2", "fe80::1"],
)
def test_private_addresses_are_a_matter_of_policy(host: str) -> None:
    candidates.parse(line(host), allow_private=True)
    with pytest.raises(candidates.RefusedError, match="private"):
        candidates.parse(line(host), allow_private=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (line("224.0.0.251"), "address"),
        (line("ff02::1"), "address"),
        (line("0.0.0.0"), "address"),
        (line("::"), "address"),
        (line("255.255.255.255"), "address"),
        (line("240.0.0.1"), "address"),
        (line("::ffff:8.8.8.8"), "address"),
        (line("2002:808:808::1"), "address"),
        (line("fe80::1%eth0"), "address"),
        (line("8.8.8.8", 53), "port"),
        (line("8.8.8.8", 0), "port"),
        (line("8.8.8.8", -1), "port"),
        (line("8.8.8.8", 65536), "port"),
        (line("8c3f7d.local"), "mdns"),
        (line("8C3F7D.LOCAL"), "mdns"),
        (line("example.org"), "name"),
        (line("1.2.3"), "name"),
        (line("8.8.8.8", kind="prflx"), "kind"),
        (line("8.8.8.8", component=2), "kind"),
        (line("8.8.8.8", transport="tcp"), "kind"),
        ("", "junk"),
        ("candidate:", "junk"),
        (line("8.8.8.8") + " generation x", "junk"),
        (line("8.8.8.8") + " x y" * 200, "junk"),
    ],
)
def test_the_others_are_refused_with_their_reason(text: str, reason: str) -> None:
    with pytest.raises(candidates.RefusedError, match=f"^{reason}$"):
        candidates.parse(text, allow_private=True)


@pytest.mark.parametrize("prefix", ["", "candidate:", "a=candidate:"])
def test_each_spelling_of_the_line_is_understood(prefix: str) -> None:
    text = line("8.8.8.8").removeprefix("candidate:")
    assert candidates.parse(prefix + text, allow_private=False).port == 40000


@given(st.text(max_size=200) | st.lists(st.text("0123456789.: %/abcdefudpty", max_size=8), max_size=10).map(" ".join))
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(candidates.RefusedError):
        candidates.parse(text, allow_private=True)


@given(st.text("0123456789abcdef.:%", max_size=30), st.integers())
def test_no_host_raises_anything_else(host: str, port: int) -> None:
    with contextlib.suppress(candidates.RefusedError):
        candidates.allowed_host(host, port, allow_private=True)
