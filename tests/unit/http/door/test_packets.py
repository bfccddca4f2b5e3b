"""Packets of MQTT 3.1.1: what a server reads and writes, against bytes of the standard and bytes of anybody."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.http.door import packets
from sfu.http.door.packets import PacketError, PacketReader

CONNECT = bytes.fromhex("101000044d5154540402003c000474657374")
MANY = 70_000


def text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def frame(first: int, body: bytes) -> bytes:
    length, octets = len(body), bytearray()
    while True:
        length, low = divmod(length, 128)
        octets.append(low | (0x80 if length else 0))
        if not length:
            return bytes((first, *octets)) + body


def connect(
    name: bytes = b"MQTT", level: int = 4, flags: int = 2, payload: bytes = b"\0\4page", first: int = 0x10
) -> bytes:
    return frame(first, text(name) + bytes((level, flags, 0, 60)) + payload)


def after_connect(data: bytes) -> list[packets.Packet]:
    reader = PacketReader()
    reader.feed(CONNECT)
    return reader.feed(data)


def test_each_packet_is_read() -> None:
    said = (
        frame(0x82, b"\0\1" + text(b"sfu/+/state") + b"\1" + text(b"sfu/bridge/info") + b"\2"),
        frame(0xA2, b"\0\2" + text(b"sfu/+/state")),
        frame(0x30, text(b"sfu/a") + b"one"),
        frame(0x3B, text(b"sfu/a") + b"\1\0two"),
        frame(0x40, b"\0\7"),
        b"\xc0\0\xe0\0",
    )
    assert after_connect(b"".join(said)) == [
        packets.SubscribePacket(1, (("sfu/+/state", 1), ("sfu/bridge/info", 1))),
        packets.UnsubscribePacket(2, ("sfu/+/state",)),
        packets.PublishPacket("sfu/a", b"one", 0, retain=False, packet_id=0),
        packets.PublishPacket("sfu/a", b"two", 1, retain=True, packet_id=256),
        packets.PubackPacket(7),
        packets.PingPacket(),
        packets.DisconnectPacket(),
    ]


def test_a_connect_has_a_login_and_its_will_is_dropped() -> None:
    payload = text(b"page") + text(b"sfu/gone") + text(b"will") + text(b"ann") + text(b"secret")
    (read,) = PacketReader().feed(connect(flags=0xC6, payload=payload))
    assert read == packets.ConnectPacket("page", 60, clean=True, username="ann", password=b"secret")
    assert "secret" not in repr(read)


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(0, 2000))
def test_pieces_of_any_size_make_the_same_packets(sizes: list[int], count: int) -> None:
    said = CONNECT + packets.publish("sfu/hall/view/me", bytes(count), 3) + b"\xc0\0"
    reader, read = PacketReader(), list[packets.Packet]()
    at = 0
    for size in (*sizes, len(said)):
        read += reader.feed(said[at : at + size])
        at += size
    assert [type(packet).__name__ for packet in read] == ["ConnectPacket", "PublishPacket", "PingPacket"]


@given(st.text(alphabet="abc/", min_size=1, max_size=30), st.binary(max_size=300), st.integers(0, 65535), st.booleans())
def test_what_is_written_is_read(topic: str, payload: bytes, packet_id: int, retain: bool) -> None:
    (read,) = after_connect(packets.publish(topic, payload, packet_id, retain=retain))
    assert read == packets.PublishPacket(topic, payload, int(packet_id > 0), retain, packet_id)


@given(st.binary(max_size=80))
def test_bytes_of_anybody_raise_one_error_only(data: bytes) -> None:
    for seen in (b"", CONNECT):
        reader = PacketReader()
        reader.feed(seen)
        with contextlib.suppress(PacketError):
            reader.feed(data)


@pytest.mark.parametrize(
    ("said", "kind", "answer"),
    [
        (b"GET / HTTP/1.1", "not_mqtt", b""),
        (packets.publish("a", b"", 0), "not_mqtt", b""),
        (b"\x11\0", "not_mqtt", b""),
        (b"\x10\xff\xff\xff\xff\1", "not_mqtt", b""),
        (b"\x10\xff\xff\xff\x7f", "not_mqtt", b""),
        (connect(name=b"HTTP"), "not_mqtt", b""),
        (connect(name=b"MQIsdp", level=3), "other_version", b"\x20\2\0\1"),
        (connect(level=3), "other_version", b"\x20\2\0\1"),
        (connect(level=5, payload=b"\0\0\4page"), "other_version", b"\x20\3\0\x84\0"),
        (connect(flags=3), "malformed", b""),
        (connect(flags=0x1E, payload=b"\0\1a\0\1b\0\0"), "malformed", b""),
        (connect(flags=0x22), "malformed", b""),
        (connect(flags=0x42, payload=b"\0\1a\0\1b"), "malformed", b""),
        (connect(flags=0, payload=b"\0\0"), "malformed", b"\x20\2\0\2"),
        (connect(payload=b"\0\4pag"), "malformed", b""),
        (connect(payload=b"\0\4page more"), "malformed", b""),
        (connect(payload=text(b"p" * 257)), "too_large", b""),
        (connect(payload=b"\0\1\xff"), "malformed", b""),
    ],
)
def test_a_first_packet_that_is_no_connect_of_3_1_1(said: bytes, kind: str, answer: bytes) -> None:
    with pytest.raises(PacketError) as fault:
        PacketReader().feed(said)
    assert (fault.value.kind, fault.value.answer) == (kind, answer)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (CONNECT, "second_connect"),
        (frame(0x34, text(b"a") + b"\0\1"), "qos_2"),
        (frame(0x62, b"\0\1"), "qos_2"),
        (frame(0x36, text(b"a") + b"\0\1"), "malformed"),
        (frame(0x38, text(b"a")), "malformed"),
        (frame(0x30, text(b"")), "malformed"),
        (frame(0x30, text(b"a/+")), "malformed"),
        (frame(0x30, text(b"a/#")), "malformed"),
        (frame(0x30, text(b"a\0b")), "malformed"),
        (frame(0x30, text(b"\xed\xa0\x80")), "malformed"),
        (frame(0x30, text(b"a" * 1025)), "too_large"),
        (frame(0x30, text(b"a") + bytes(64 * 1024 + 1)), "too_large"),
        (frame(0x30, bytes(MANY)), "too_large"),
        (frame(0x32, text(b"a") + b"\0\0"), "malformed"),
        (frame(0x80, b"\0\1" + text(b"a") + b"\0"), "malformed"),
        (frame(0x82, b"\0\1"), "malformed"),
        (frame(0x82, b"\0\1" + text(b"a") + b"\3"), "malformed"),
        (frame(0x82, b"\0\1" + text(b"a")), "malformed"),
        (frame(0x82, b"\0\1" + (text(b"a") + b"\0") * 33), "too_large"),
        (frame(0xA2, b"\0\1"), "malformed"),
        (frame(0x40, b"\0\1\0"), "malformed"),
        (frame(0xC0, b"\0"), "malformed"),
        (frame(0x20, b"\0\0"), "malformed"),
        (frame(0xF0, b""), "malformed"),
        (b"\x30\xff\xff\xff\xff\1", "malformed"),
    ],
)
def test_a_later_packet_that_breaks_the_standard(said: bytes, kind: str) -> None:
    with pytest.raises(PacketError) as fault:
        after_connect(said)
    assert fault.value.kind == kind


def test_answers_are_those_of_the_standard() -> None:
    assert packets.suback(10, bytes((0, 1, packets.REFUSED))) == b"\x90\5\0\x0a\0\1\x80"
    assert packets.unsuback(10) == b"\xb0\2\0\x0a"
    assert packets.puback(258) == b"\x40\2\1\2"
    assert packets.publish("a", bytes(200), 0)[:6] == b"\x30\xcb\1\0\1a"
