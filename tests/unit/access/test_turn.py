from __future__ import annotations

import pytest

from sfu.access.turn import LOGIN_S, public_servers, servers_for

URLS = ("stun:stun.example.org", "turn:turn.example.org:3478", "TURNS:turn.example.org:5349")


def test_a_login_is_the_one_that_coturn_computes() -> None:
    """The credential is that of `openssl dgst -sha1 -hmac north -binary | base64` over the user name."""
    stun, turn = servers_for(URLS, "north", "ann", 1_800_000_000.9)
    assert stun == {"urls": [URLS[0]]}
    assert turn == {
        "urls": list(URLS[1:]),
        "username": f"{1_800_000_000 + int(LOGIN_S)}:ann",
        "credential": "T8damJt7SIS3dPqdZlsf29r+oh0=",
    }


@pytest.mark.parametrize(("urls", "secret"), [(URLS, ""), (URLS[:1], "north"), ((), "north")])
def test_nobody_is_told_of_a_server_without_the_login_that_it_needs(urls: tuple[str, ...], secret: str) -> None:
    assert servers_for(urls, secret, "ann", 0.0) == public_servers(urls) == [{"urls": [url]} for url in urls[:1]]
