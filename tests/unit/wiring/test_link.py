"""The printed link on another machine: at an address that it can reach, if there is one."""

from __future__ import annotations

import pytest

from sfu.settings import load
from sfu.wiring.link import link_from_elsewhere

LINK = "http://127.0.0.1:8080/login#once=a.b.c"


@pytest.mark.parametrize(
    ("http", "addresses", "link"),
    [
        ("127.0.0.1:8080", ("192.168.1.5", "127.0.0.1"), None),
        ("192.168.1.5:8080", ("192.168.1.5", "127.0.0.1"), None),
        ("0.0.0.0:8080", ("192.168.1.5", "10.0.0.1", "127.0.0.1"), "http://192.168.1.5:8080/login#once=a.b.c"),
        ("[::]:8080", ("192.168.1.5", "::1"), "http://192.168.1.5:8080/login#once=a.b.c"),
        (":8080", ("fd00::5", "127.0.0.1"), "http://[fd00::5]:8080/login#once=a.b.c"),
        ("0.0.0.0:8080", ("127.0.0.1", "::1"), None),
        ("0.0.0.0:8080", (), None),
    ],
)
def test_the_address_for_other_machines(
    monkeypatch: pytest.MonkeyPatch, http: str, addresses: tuple[str, ...], link: str | None
) -> None:
    monkeypatch.setattr("sfu.wiring.link.host_addresses", lambda: addresses)
    assert link_from_elsewhere(load(command_line={"http": http}), LINK) == link
