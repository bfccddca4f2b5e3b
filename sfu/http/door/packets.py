"""MQTT 3.1.1 packets (OASIS), as a server reads and writes them: from bytes to packets, and back.

Owns every bound on what a client may send. Pure: never knows a connection, a right or the meaning of a topic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_PAYLOAD_BYTES: Final = 64 * 1024
MAX_TOPIC_BYTES: Final = 1024
MAX_FILTERS: Final = 32
"""Filters in one SUBSCRIBE or UNSUBSCRIBE."""
_MAX_NAME_BYTES: Final = 256
"""For a client id and a user name."""
_MAX_PASSWORD_BYTES: Final = 4096
"""A token may be the password."""
_MAX_BODY_BYTES: Final = MAX_PAYLOAD_BYTES + MAX_TOPIC_BYTES + 4
_LEVEL: Final = 4
"""The protocol level of MQTT 3.1.1."""

PINGRESP: Final = b"\xd0\x00"
ACCEPTED: Final = b"\x20\x02\x00\x00"
"""CONNACK: no session is kept."""
BAD_CLIENT_ID: Final = b"\x20\x02\x00\x02"
BAD_LOGIN: Final = b"\x20\x02\x00\x04"
NOT_AUTHORIZED: Final = b"\x20\x02\x00\x05"
_BAD_VERSION: Final = b"\x20\x02\x00\x01"
_BAD_VERSION_5: Final = b"\x20\x03\x00\x84\x00"
"""CONNACK of MQTT 5 (section 3.2.2.2): clients of that version then try 3.1.1."""
REFUSED: Final = 0x80
"""The code of a refused filter in SUBACK."""


class PacketError(ValueError):
    """A packet that ends its connection. `kind`: for counters; `answer`: to be sent before the end."""

    def __init__(self, kind: str, text: str, answer: bytes = b"") -> None:
        super().__init__(text)
        self.kind = kind
        self.answer = answer


@dataclass(frozen=True, slots=True)
class ConnectPacket:
    """The first packet of a client. `keep_alive_s`: 0 for none."""

    client_id: str
    keep_alive_s: int
    clean: bool
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PublishPacket:
    """A message of a client. `packet_id`: 0 with QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int


@dataclass(frozen=True, slots=True)
class SubscribePacket:
    """A request for messages; each filter with its QoS."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class UnsubscribePacket:
    """The end of subscriptions."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PubackPacket:
    """A client's word that a message has come."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PingPacket:
    """A sign of life."""


@dataclass(frozen=True, slots=True)
class DisconnectPacket:
    """The end of a connection."""


Packet = (
    ConnectPacket | PublishPacket | SubscribePacket | UnsubscribePacket | PubackPacket | PingPacket | DisconnectPacket
)


class PacketReader:
    """The reader of one connection, whose bytes come in pieces of any size."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = 0
        """Length of the packet that `_rest` begins, in bytes; 0 while it is not known."""
        self._begun = False

    def feed(self, data: bytes) -> list[Packet]:
        """Returns the packets that end in `data`. Raises PacketError; the connection is then to be closed.

        What came before the fault is lost with it: nothing of a client that breaks the protocol is obeyed late.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            data = bytes(self._rest)
        packets: list[Packet] = []
        at = 0
        while (frame := _frame(data, at, begun=self._begun)) is not None and frame[1] <= len(data):
            packets.append(_parse(data[at], data[frame[0] : frame[1]], begun=self._begun))
            self._begun = True
            at = frame[1]
        self._rest = bytearray(data[at:])
        self._wanted = 0 if frame is None else frame[1] - at
        return packets


def _frame(data: bytes, at: int, *, begun: bool) -> tuple[int, int] | None:
    """Returns start and end of the body of the packet at `at`; None while that is unknown."""
    if at < len(data) and not begun and data[at] != 0x10:
        raise PacketError("not_mqtt", "an MQTT connection begins with CONNECT")
    length = 0
    for place in range(4):
        if at + 1 + place >= len(data):
            return None
        octet = data[at + 1 + place]
        length |= (octet & 0x7F) << (7 * place)
        if octet < 0x80:
            if length > _MAX_BODY_BYTES:
                text = f"a packet has at most {_MAX_BODY_BYTES} bytes after its length"
                raise PacketError("too_large" if begun else "not_mqtt", text)
            return at + 2 + place, at + 2 + place + length
    raise PacketError("malformed" if begun else "not_mqtt", "a length has at most four bytes")


def _parse(first: int, body: bytes, *, begun: bool) -> Packet:
    kind, flags, fields = first >> 4, first & 15, _Fields(body)
    if kind == 3:
        return _publish(flags, fields)
    if kind in (5, 6, 7):
        raise PacketError("qos_2", "QoS 2 is not served")
    if kind not in _READERS:
        raise PacketError("malformed", f"a client sends no packet of type {kind}")
    if kind == 1 and begun:
        raise PacketError("second_connect", "a connection has one CONNECT")
    wanted, read = _READERS[kind]
    if flags != wanted:
        raise PacketError("malformed", "wrong flags")
    packet = read(fields)
    fields.end()
    return packet


class _Fields:
    """The fields of a body, read one after another."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._body)

    def take(self, count: int) -> bytes:
        piece = self._body[self._at : self._at + count]
        if len(piece) < count:
            raise PacketError("malformed", "a packet ends within a field")
        self._at += count
        return piece

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        if (number := self.number()) == 0:
            raise PacketError("malformed", "0 is no packet id")
        return number

    def binary(self, limit: int) -> bytes:
        if (length := self.number()) > limit:
            raise PacketError("too_large", f"this field has at most {limit} bytes")
        return self.take(length)

    def text(self, limit: int) -> str:
        try:
            text = self.binary(limit).decode()
        except UnicodeDecodeError:
            raise PacketError("malformed", "a text is no UTF-8") from None
        if "\0" in text:
            raise PacketError("malformed", "a text has no NUL")
        return text

    def topic(self) -> str:
        if not (topic := self.text(MAX_TOPIC_BYTES)):
            raise PacketError("malformed", "a topic has at least one character")
        return topic

    def rest(self) -> bytes:
        return self._body[self._at :]

    def end(self) -> None:
        """Raises PacketError if something is left."""
        if not self.ended:
            raise PacketError("malformed", "a packet is longer than its fields")


def _connect(fields: _Fields) -> ConnectPacket:
    name, level = fields.text(6), fields.take(1)[0]
    if (name, level) != ("MQTT", _LEVEL):
        if name not in ("MQTT", "MQIsdp"):
            raise PacketError("not_mqtt", "this is no CONNECT of MQTT")
        answer = _BAD_VERSION_5 if name == "MQTT" and level > _LEVEL else _BAD_VERSION
        raise PacketError("other_version", "only MQTT 3.1.1 is served", answer)
    flags, keep_alive_s = fields.take(1)[0], fields.number()
    has_name, has_password, has_will = (bool(flags & bit) for bit in (0x80, 0x40, 0x04))
    will_qos = flags >> 3 & 3
    if flags & 1 or will_qos == 3 or (not has_will and flags & 0x38) or (has_password and not has_name):
        raise PacketError("malformed", "these flags of CONNECT do not go together")
    client_id = fields.text(_MAX_NAME_BYTES)
    if has_will:  # read and not kept: see docs/protocol.md
        fields.topic()
        fields.binary(MAX_PAYLOAD_BYTES)
    username = fields.text(_MAX_NAME_BYTES) if has_name else None
    password = fields.binary(_MAX_PASSWORD_BYTES) if has_password else None
    clean = bool(flags & 2)
    if not client_id and not clean:
        raise PacketError("malformed", "a client without an id has a clean session", BAD_CLIENT_ID)
    return ConnectPacket(client_id, keep_alive_s, clean, username, password)


def _publish(flags: int, fields: _Fields) -> PublishPacket:
    qos = flags >> 1 & 3
    if qos == 2:
        raise PacketError("qos_2", "QoS 2 is not served")
    if qos == 3 or (qos == 0 and flags & 8):
        raise PacketError("malformed", "wrong flags")
    topic = fields.topic()
    if "+" in topic or "#" in topic:
        raise PacketError("malformed", "a topic has no wildcards")
    packet_id = fields.packet_id() if qos else 0
    payload = fields.rest()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PacketError("too_large", f"a message has at most {MAX_PAYLOAD_BYTES} bytes")
    return PublishPacket(topic, payload, qos, bool(flags & 1), packet_id)


def _subscribe(fields: _Fields) -> SubscribePacket:
    packet_id = fields.packet_id()
    filters: list[tuple[str, int]] = []
    while not fields.ended or not filters:
        wanted, qos = fields.topic(), fields.take(1)[0]
        if qos > 2:
            raise PacketError("malformed", "a QoS is 0, 1 or 2")
        filters.append((wanted, min(qos, 1)))
        _check_count(filters)
    return SubscribePacket(packet_id, tuple(filters))


def _unsubscribe(fields: _Fields) -> UnsubscribePacket:
    packet_id = fields.packet_id()
    filters: list[str] = []
    while not fields.ended or not filters:
        filters.append(fields.topic())
        _check_count(filters)
    return UnsubscribePacket(packet_id, tuple(filters))


def _check_count(filters: list[str] | list[tuple[str, int]]) -> None:
    if len(filters) > MAX_FILTERS:
        raise PacketError("too_large", f"a packet has at most {MAX_FILTERS} filters")


_READERS: Final[Mapping[int, tuple[int, Callable[[_Fields], Packet]]]] = {
    1: (0, _connect),
    4: (0, lambda fields: PubackPacket(fields.packet_id())),
    8: (2, _subscribe),
    10: (2, _unsubscribe),
    12: (0, lambda _: PingPacket()),
    14: (0, lambda _: DisconnectPacket()),
}
"""By packet type: the flags, and the function that reads the fields."""


def publish(topic: str, payload: bytes, packet_id: int, *, retain: bool = False) -> bytes:
    """Returns a PUBLISH; `packet_id`: 0 for QoS 0, else QoS 1."""
    name = topic.encode()
    number = packet_id.to_bytes(2, "big") if packet_id else b""
    length = _length(2 + len(name) + len(number) + len(payload))
    first = bytes((0x30 | (2 if packet_id else 0) | retain,))
    return b"".join((first, length, len(name).to_bytes(2, "big"), name, number, payload))


def puback(packet_id: int) -> bytes:
    """Returns the PUBACK of a message."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def suback(packet_id: int, codes: bytes) -> bytes:
    """Returns the SUBACK with one code for each filter: its QoS, or REFUSED."""
    return b"\x90" + _length(2 + len(codes)) + packet_id.to_bytes(2, "big") + codes


def unsuback(packet_id: int) -> bytes:
    """Returns the UNSUBACK of a request."""
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")


def _length(value: int) -> bytes:
    """Returns the length of a body as MQTT writes it (MQTT 3.1.1 section 2.2.3)."""
    octets = bytearray()
    while True:
        value, low = divmod(value, 128)
        octets.append(low | (0x80 if value else 0))
        if not value:
            return bytes(octets)
