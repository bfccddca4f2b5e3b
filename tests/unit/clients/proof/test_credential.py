"""A peer's own token, as far as the peer reads it."""

from __future__ import annotations

import pytest

from sfu.access.rights import Claims, Right, Use
from sfu.access.tokens import mint
from sfu.clients.proof.credential import Credential
from sfu.signaling.broker_url import BrokerUrl

KEY = b"k" * 32
DOOR = BrokerUrl.parse("ws://server:8080/mqtt")


def token(use: Use) -> str:
    return mint(KEY, Claims("cam", ("yard",), frozenset({Right.PUBLISH}), 2000.0, "jti", use, 1000.0))


def test_a_token_that_seals_is_never_shown() -> None:
    credential = Credential.of(token(Use.SEALED))
    assert credential.token is None
    assert credential.seal is not None
    assert credential.login(DOOR) == DOOR
    assert (credential.sub, credential.until, credential.renewed_at) == ("cam", 2000.0, 1800.0)


def test_an_access_token_is_the_password_at_the_door_unless_there_is_a_login() -> None:
    shown = token(Use.ACCESS)
    credential = Credential.of(shown)
    assert credential.login(DOOR).password == shown
    assert shown not in repr(credential.login(DOOR))
    assert shown not in repr(credential)
    for other in ("ws://ann:secret@server:8080/mqtt", "mqtt://server"):
        assert credential.login(BrokerUrl.parse(other)) == BrokerUrl.parse(other)


@pytest.mark.parametrize("text", ["t", "a.b.c", "a.\xff.c", "..", "a.bnVsbA.c", f"a.{'x' * 5000}.c"])
def test_what_is_no_token_is_shown_and_the_server_decides(text: str) -> None:
    assert Credential.of(text) == Credential(text)


@pytest.mark.parametrize("text", [None, ""])
def test_no_token_is_nothing(text: str | None) -> None:
    assert Credential.of(text) == Credential()
