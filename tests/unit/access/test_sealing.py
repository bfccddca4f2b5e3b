"""Sealed messages: nothing but the whole message, for its topic, in its direction and of its boot id, is opened."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.access.rights import Claims, Right, Use
from sfu.access.sealing import NONCE_BYTES, Seal, SealError, Speaker, token_of_kid
from sfu.access.tokens import mint

KEY = bytes(range(32))
TOKEN = mint(KEY, Claims("cam-1", ("frontdoor",), frozenset({Right.PUBLISH}), 2e9, "id", Use.SEALED))
SEAL = Seal.of_token(TOKEN)
BOUND: dict[str, Any] = {"speaker": Speaker.PEER, "topic": "sfu/frontdoor/pub/cam-1", "boot": "b-1"}
INNER = b'{"command":"signal","n":1}'


def sealed(nonce: bytes = bytes(NONCE_BYTES)) -> str:
    return SEAL.close(INNER, nonce=nonce, **BOUND)


def test_both_sides_have_the_same_keys() -> None:
    server = Seal.of_kid(TOKEN.rpartition(".")[0], KEY)
    assert token_of_kid(server.kid, KEY) == TOKEN
    assert server.open(sealed(), **BOUND) == INNER
    answer = server.close(b"yes", speaker=Speaker.SERVER, topic="t", boot="b", nonce=bytes(12))
    assert SEAL.open(answer, speaker=Speaker.SERVER, topic="t", boot="b") == b"yes"


def test_each_flipped_bit_is_noticed() -> None:
    octets = base64.urlsafe_b64decode(sealed() + "==")
    for at in range(len(octets) * 8):
        changed = bytearray(octets)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(SealError):
            SEAL.open(base64.urlsafe_b64encode(changed).rstrip(b"=").decode(), **BOUND)


def test_each_flipped_letter_is_noticed() -> None:
    """Also those whose last bits mean nothing: a message has one form."""
    text = sealed()
    for at, letter in enumerate(text):
        for other in "ABgw_-=+/ ":
            if other != letter:
                with pytest.raises(SealError):
                    SEAL.open(text[:at] + other + text[at + 1 :], **BOUND)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("topic", "sfu/frontdoor/pub/cam-2"),
        ("topic", "sfu/frontdoor/view/cam-1"),
        ("topic", ""),
        ("boot", "b-2"),
        ("boot", ""),
        ("speaker", Speaker.SERVER),
    ],
)
def test_another_place_direction_or_boot_id(name: str, value: str) -> None:
    with pytest.raises(SealError):
        SEAL.open(sealed(), **(BOUND | {name: value}))


@pytest.mark.parametrize("text", ["", "AA", "A" * 37, "é" * 60, "\udcff", "A" * 60 + "=", "\n" + "A" * 60, "A" * 9999])
def test_no_message(text: str) -> None:
    with pytest.raises(SealError) as error:
        SEAL.open(text, **BOUND)
    assert text not in str(error.value) or not text


def test_cut_and_longer_messages() -> None:
    text = sealed()
    for other in (text[:-4], text[4:], text + "AAAA", text + text):
        with pytest.raises(SealError):
            SEAL.open(other, **BOUND)


def test_other_tokens_and_keys_open_nothing() -> None:
    kid = TOKEN.rpartition(".")[0]
    others = [
        Seal.of_kid(kid, bytes(32)),
        Seal.of_kid(kid[:-1] + ("A" if kid[-1] != "A" else "B"), KEY),
        Seal.of_kid("a.b", KEY),
    ]
    for other in others:
        with pytest.raises(SealError):
            other.open(sealed(), **BOUND)


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c.d", "a.b.ü", "a.b.+/+/", "a.b.AA=="])
def test_no_token(text: str) -> None:
    with pytest.raises(ValueError, match=r"no token|no base64url"):
        Seal.of_token(text)


def test_nothing_of_a_seal_is_shown() -> None:
    assert TOKEN.rpartition(".")[2] not in repr(SEAL)
    assert SEAL.kid not in repr(SEAL)


@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=20), st.binary(min_size=12, max_size=12))
def test_every_message_comes_back(inner: bytes, topic: str, boot: str, nonce: bytes) -> None:
    bound: dict[str, Any] = {"speaker": Speaker.SERVER, "topic": topic, "boot": boot}
    assert SEAL.open(SEAL.close(inner, nonce=nonce, **bound), **bound) == inner
