"""STUN messages: recognised without parsing, and no bytes make it raise."""

from __future__ import annotations

import pytest
from aioice import stun as wire
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtc.net import stun

PWD = "p" * 22
ADDRESSES = [("192.0.2.1", 4000), ("2001:db8::1", 65535)]


def check(username: str = "ours:theirs", pwd: str = PWD) -> bytes:
    message = wire.Message(wire.Method.BINDING, wire.Class.REQUEST)
    message.attributes |= {"PRIORITY": 1, "USERNAME": username, "ICE-CONTROLLING": 1}
    message.add_message_integrity(pwd.encode())
    return bytes(message)


def parsed(data: bytes) -> stun.Message:
    message = stun.parse(data)
    assert message is not None
    return message


def test_a_check_is_understood() -> None:
    data = check()
    assert stun.is_message(data)
    assert stun.message_class(data) == stun.Class.REQUEST
    assert stun.addressed_ufrag(data) == "ours"
    message = parsed(data)
    assert stun.is_check(message)
    assert stun.remote_ufrag(message) == "theirs"
    assert stun.transaction_id(data) == message.transaction_id
    assert stun.authentic(message, PWD)
    assert not stun.authentic(message, "q" * 22)


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_answer_names_the_address_and_proves_the_password(address: tuple[str, int]) -> None:
    answer = wire.parse_message(stun.success(parsed(check()), address, PWD))
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == address
    assert answer.check_message_integrity(PWD.encode())
    assert "FINGERPRINT" in answer.attributes


def test_only_a_success_made_with_the_key_agrees() -> None:
    request = parsed(check())
    answer = stun.success(request, ADDRESSES[0], PWD)
    assert stun.agrees(answer, PWD.encode())
    assert not stun.agrees(answer, b"q" * 22)
    assert not stun.agrees(answer[:-1], PWD.encode())
    assert not stun.agrees(check(), PWD.encode())
    assert not stun.agrees(stun.role_conflict(request, PWD), PWD.encode())


def test_a_zone_stays_on_this_machine() -> None:
    answer = wire.parse_message(stun.success(parsed(check()), ("fe80::1%eth0", 9), PWD))
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("fe80::1", 9)


def test_a_role_conflict_is_487() -> None:
    answer = wire.parse_message(stun.role_conflict(parsed(check()), PWD))
    assert answer.error_code == 487
    assert answer.message_class == wire.Class.ERROR


@pytest.mark.parametrize("missing", ["USERNAME", "PRIORITY"])
def test_a_check_needs_its_attributes(missing: str) -> None:
    message = wire.parse_message(check())
    del message.attributes[missing]
    message.add_message_integrity(PWD.encode())
    assert not stun.is_check(parsed(bytes(message)))


def test_a_username_without_colon_addresses_nobody() -> None:
    assert stun.addressed_ufrag(check("ours")) is None


def test_an_attribute_of_wrong_length_is_no_message() -> None:
    """aioice raises struct.error here, not the ValueError that it promises."""
    data = bytearray(b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"\x00\x24\x00\x03\x00\x00\x00\x00")
    assert stun.is_message(bytes(data))
    assert stun.parse(bytes(data)) is None


@pytest.mark.parametrize("cut", range(len(check())))
def test_no_prefix_of_a_check_is_a_message(cut: int) -> None:
    assert not stun.is_message(check()[:cut])


attributes = st.lists(st.tuples(st.integers(0, 0x30) | st.integers(0x8020, 0x8030), st.binary(max_size=40)), max_size=6)


@given(attributes, st.integers(0, 0x3FFF), st.binary(max_size=3))
def test_no_frame_raises(found: list[tuple[int, bytes]], kind: int, tail: bytes) -> None:
    body = b"".join(
        number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) & 3)
        for number, value in found
    )
    body += tail
    data = kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + body
    if stun.is_message(data):
        stun.message_class(data)
        stun.addressed_ufrag(data)
        message = stun.parse(data)
        if message is not None and stun.is_check(message):
            stun.remote_ufrag(message)
            stun.authentic(message, PWD)


@given(st.binary(max_size=100))
def test_no_bytes_raise(data: bytes) -> None:
    stun.is_message(data)
    stun.parse(data)
