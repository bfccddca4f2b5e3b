"""Where a CONNECT ends, and CONNECT with a login: against packets that paho builds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.http.mqtt_connect import first_packet_bytes, with_login


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _length(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value % 128 | 128, value // 128))


def connect(
    client: bytes = b"page", *, name: bytes = b"MQTT", level: int = 4, will: bytes = b"", user: bytes | None = None
) -> bytes:
    """Builds a CONNECT as MQTT 3.1.1 section 3.1 and MQTT 5 section 3.1 say."""
    flags = 2 | (4 if will else 0) | (0 if user is None else 0xC0)
    properties = b"\x05\x11\0\0\0\x0a" if level == 5 else b""
    payload = _text(client)
    if will:
        payload += (b"\0" if level == 5 else b"") + _text(b"sfu/gone") + _text(will)
    if user is not None:
        payload += _text(user) + _text(b"own")
    body = _text(name) + bytes((level, flags, 0, 60)) + properties + payload
    return b"\x10" + _length(len(body)) + body


@pytest.mark.parametrize("level", [3, 4, 5])
@pytest.mark.parametrize("will", [b"", b"x" * 200])
def test_a_login_comes_after_all_else(level: int, will: bytes) -> None:
    name = b"MQIsdp" if level == 3 else b"MQTT"
    anonymous = connect(name=name, level=level, will=will)
    packet = with_login(anonymous, "sfu", "secret")
    assert first_packet_bytes(packet) == len(packet)
    assert packet.endswith(_text(b"sfu") + _text(b"secret"))
    head = 2 if len(packet) < 130 else 3
    flags = head + 2 + len(name) + 1
    assert packet[flags] & 0xC0 == 0xC0
    old_head = 2 if len(anonymous) < 130 else 3
    assert packet[flags + 1 : -len(_text(b"sfu") + _text(b"secret"))] == anonymous[old_head + 2 + len(name) + 2 :]


def test_a_client_with_a_login_keeps_it() -> None:
    packet = connect(user=b"ann")
    assert with_login(packet, "sfu", "secret") == packet


@given(st.binary(max_size=300))
def test_any_bytes_are_a_length_or_an_error(data: bytes) -> None:
    try:
        end = first_packet_bytes(data)
    except ValueError:
        return
    assert end is None or end >= 2


@given(st.binary(max_size=200))
def test_any_packet_gets_a_login_or_stays(body: bytes) -> None:
    packet = b"\x10" + _length(len(body)) + body
    changed = with_login(packet, "sfu", "secret")
    assert changed == packet or first_packet_bytes(changed) == len(changed)


@given(st.integers(0, 18))
def test_the_end_is_known_once_its_length_is(cut: int) -> None:
    packet = connect()
    assert first_packet_bytes(packet[:cut]) == (len(packet) if cut >= 2 else None)
