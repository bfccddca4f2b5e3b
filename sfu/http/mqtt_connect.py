"""The first packet of an MQTT connection: where it ends, and the same packet with a login.

Pure. Reads no more of MQTT than that: the broker decides about all else.
"""

from __future__ import annotations

from typing import Final

MAX_CONNECT_BYTES: Final = 128 * 1024
"""A CONNECT has a client id, a will (a message), a user name and a password."""
_CONNECT: Final = 0x10
_HAS_LOGIN: Final = 0xC0
"""Flags of CONNECT: a user name (0x80) and a password (0x40) are there."""


def first_packet_bytes(data: bytes) -> int | None:
    """Returns the length in bytes of the first packet of `data`, None while too little is there to tell.

    Raises ValueError if that is no CONNECT of a reasonable length (MQTT 5 sections 2.1 and 3.1.1).
    """
    if data and data[0] != _CONNECT:
        raise ValueError("an MQTT connection begins with CONNECT")
    remaining = 0
    for place, octet in enumerate(data[1:5]):
        remaining |= (octet & 0x7F) << (7 * place)
        if octet < 0x80:
            if remaining > MAX_CONNECT_BYTES:
                raise ValueError("this CONNECT is too long")
            return 2 + place + remaining
    if len(data) > 4:
        raise ValueError("a length has at most four bytes")
    return None


def with_login(packet: bytes, username: str, password: str) -> bytes:
    """Returns a whole CONNECT with this login; unchanged if it has a login, or if it is not one a broker would take."""
    start = next((place for place, octet in enumerate(packet[1:5], 2) if octet < 0x80), len(packet))
    body = bytearray(packet[start:])
    flags = 2 + int.from_bytes(body[:2], "big") + 1  # after the protocol's name and its level
    if flags >= len(body) or body[flags] & _HAS_LOGIN:
        return packet
    body[flags] |= _HAS_LOGIN
    # Both stand at the end, in every version of MQTT.
    for text in (username.encode(), password.encode()):
        body += len(text).to_bytes(2, "big") + text
    return bytes((_CONNECT,)) + _length(len(body)) + bytes(body)


def _length(value: int) -> bytes:
    """Returns a variable byte integer (MQTT 5 section 1.5.5)."""
    octets = bytearray()
    while True:
        value, low = divmod(value, 128)
        octets.append(low | (0x80 if value else 0))
        if not value:
            return bytes(octets)
