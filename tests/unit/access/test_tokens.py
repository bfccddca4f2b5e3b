"""Tokens of this server, and everything that looks like one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from sfu.access.rights import Claims, Right, Use
from sfu.access.tokens import MAX_TOKEN_BYTES, Keys, TokenError, mint, read

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
KEYS = Keys(KEY)
NOW = 1_796_000_000.0
CLAIMS = Claims("cam-1", ("frontdoor",), frozenset({Right.PUBLISH}), NOW + 60, "k3J9x_Qa", since=NOW)
FIELDS: Mapping[str, Any] = {
    "aud": "sfu",
    "sub": "cam-1",
    "room": ["frontdoor"],
    "can": ["publish"],
    "iat": NOW,
    "exp": NOW + 60,
    "jti": "k3J9x_Qa",
}


def part(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def signed(payload: bytes, header: Mapping[str, Any] | None = None, key: bytes = KEY) -> str:
    """A token with any header and payload, and a good HS256 signature."""
    start = f"{part(json.dumps(header or {'alg': 'HS256', 'typ': 'JWT'}).encode())}.{part(payload)}"
    return f"{start}.{part(hmac.digest(key, start.encode(), hashlib.sha256))}"


def of(fields: Mapping[str, Any]) -> str:
    return signed(json.dumps(fields).encode())


def test_a_token_comes_back_as_it_was() -> None:
    assert read(KEYS, mint(KEY, CLAIMS), NOW) == CLAIMS


@pytest.mark.parametrize("use", Use)
def test_use_and_stamp_come_back(use: Use) -> None:
    claims = Claims("ann", ("*",), frozenset(Right), NOW + 1, "id", use, NOW, "stamp")
    assert read(KEYS, mint(KEY, claims), NOW) == claims


def test_admin_brings_all_rights() -> None:
    assert read(KEYS, of({**FIELDS, "can": ["admin"]}), NOW).can == frozenset(Right)


def test_the_key_before_is_accepted_and_no_other() -> None:
    token = mint(OTHER, CLAIMS)
    assert read(Keys(KEY, OTHER), token, NOW) == CLAIMS
    with pytest.raises(TokenError, match="another key: make a new one"):
        read(KEYS, token, NOW)


def test_a_token_ends_at_its_time() -> None:
    token = mint(KEY, CLAIMS)
    assert read(KEYS, token, NOW + 59.9)
    with pytest.raises(TokenError, match="expired"):
        read(KEYS, token, NOW + 60)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b.c", "garbage", "\0", "Ann's tökén", "\udcff", "e30.e30.", "🔑" * 40, "." * 1000],
)
def test_no_token_at_all(text: str) -> None:
    with pytest.raises(TokenError):
        read(KEYS, text, NOW)


def test_a_huge_token_is_not_read() -> None:
    for size in (MAX_TOKEN_BYTES + 1, 10_000, 10_000_000):
        with pytest.raises(TokenError, match="at most 1024 bytes"):
            read(KEYS, "a" * size, NOW)


def test_a_token_without_a_signature() -> None:
    unsigned = jwt.encode(dict(FIELDS), "", algorithm="none")
    whole = mint(KEY, CLAIMS)
    signature = whole.rpartition(".")[2]
    for text in (unsigned, unsigned + signature, whole.rpartition(".")[0] + ".", whole.rpartition(".")[0]):
        with pytest.raises(TokenError):
            read(KEYS, text, NOW)


def test_other_algorithms_are_refused_also_with_the_right_key() -> None:
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    tokens = [jwt.encode(dict(FIELDS), KEY * 2, algorithm=name) for name in ("HS384", "HS512")]
    tokens.append(jwt.encode(dict(FIELDS), private, algorithm="RS256"))
    for token in tokens:
        for keys in (Keys(KEY * 2), Keys(public)):
            with pytest.raises(TokenError):
                read(keys, token, NOW)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "hs256", "RS256", "", None, 7, ["HS256"], {}])
def test_the_header_chooses_no_algorithm(name: object) -> None:
    with pytest.raises(TokenError):
        read(KEYS, signed(json.dumps(FIELDS).encode(), {"alg": name}), NOW)


def test_a_header_brings_no_key() -> None:
    """`jwk`, `jku`, `x5u` and `kid` are what other libraries fell for; `crit` must be understood."""
    theirs = {"alg": "HS256", "kid": "../../dev/null", "jku": "http://evil", "jwk": {"kty": "oct", "k": part(OTHER)}}
    with pytest.raises(TokenError):
        read(KEYS, signed(json.dumps(FIELDS).encode(), theirs, OTHER), NOW)
    with pytest.raises(TokenError):
        read(KEYS, signed(json.dumps(FIELDS).encode(), {"alg": "HS256", "crit": ["x"], "x": 1}), NOW)


@pytest.mark.parametrize("name", ["aud", "sub", "exp", "jti", "room", "can"])
@pytest.mark.parametrize("value", ["absent", None, True, -1, 1e400, {}, [[]], [None], "", "a b", "x" * 65, ["*", 7]])
def test_each_claim_must_be_there_and_of_its_kind(name: str, value: object) -> None:
    fields = {**FIELDS, name: value}
    if value == "absent":
        del fields[name]
    with pytest.raises(TokenError) as error:
        read(KEYS, of(fields), NOW)
    assert "cam-1" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aud", "other"),
        ("aud", ["other"]),
        ("sub", "cam/1"),
        ("sub", "ann--x"),
        ("sub", "ann-"),
        ("sub", "c" * 49),
        ("sub", "ann\n"),
        ("room", ["front/"]),
        ("room", ["#"]),
        ("room", ["+"]),
        ("room", ["frontdoor\n"]),
        ("room", ["a"] * 33),
        ("room", ["a"] * 1000),
        ("can", ["fly"]),
        ("can", ["view"] * 33),
        ("use", "other"),
        ("use", None),
        ("stamp", 7),
        ("exp", math.nan),
        ("exp", math.inf),
        ("exp", -math.inf),
        ("exp", str(NOW + 60)),
        ("exp", 10**400),
        ("exp", 1e15),
        ("iat", math.nan),
        ("iat", "now"),
        ("iat", None),
        ("jti", "with space"),
        ("jti", "line\nbreak"),
    ],
)
def test_claims_that_this_server_never_makes(name: str, value: object) -> None:
    with pytest.raises(TokenError):
        read(KEYS, of({**FIELDS, name: value}), NOW)


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b"null", b"{", b"\xff", b'"sub"', b"[" * 700])
def test_a_good_signature_of_something_else(payload: bytes) -> None:
    with pytest.raises(TokenError):
        read(KEYS, signed(payload), NOW)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)


@given(st.sampled_from([*FIELDS, "use", "stamp", "nbf"]), _JSON)
def test_any_value_of_a_claim_is_read_or_refused(name: str, value: object) -> None:
    try:
        claims = read(KEYS, of({**FIELDS, name: value}), NOW)
    except TokenError:
        return
    assert NOW < claims.until < math.inf
    assert set(claims.can) <= set(Right)


def test_each_changed_byte_is_refused() -> None:
    token = mint(KEY, CLAIMS)
    for at, letter in enumerate(token):
        changed = token[:at] + ("A" if letter != "A" else "B") + token[at + 1 :]
        if at == len(token) - 1:  # its last two bits are none of the signature
            changed = token[:at] + ("A" if letter not in "ABCD" else "w")
        with pytest.raises(TokenError):
            read(KEYS, changed, NOW)


@pytest.mark.parametrize(
    "claims",
    [
        Claims("cam 1", ("a",), frozenset(), NOW, "id"),
        Claims("cam--1", ("a",), frozenset(), NOW, "id"),
        Claims("cam", ("a/state",), frozenset(), NOW, "id"),
        Claims("cam", ("",), frozenset(), NOW, "id"),
        Claims("cam", ("a",) * 33, frozenset(), NOW, "id"),
        Claims("cam", ("a" * 60,) * 20, frozenset(), NOW, "id"),
        Claims("cam", ("a",), frozenset(), math.inf, "id"),
        Claims("cam", ("a",), frozenset(), math.nan, "id"),
        Claims("cam", ("a",), frozenset(), NOW * 1000, "id"),
    ],
    ids=str,
)
def test_nothing_is_minted_that_would_not_be_read(claims: Claims) -> None:
    with pytest.raises(ValueError, match=r"no name|no room|at most|year 10000"):
        mint(KEY, claims)


def test_keys_are_not_shown() -> None:
    assert repr(KEY) not in repr(KEYS)
