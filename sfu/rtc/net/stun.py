"""STUN messages as ICE uses them (RFC 8489, RFC 8445 section 7), read and written by aioice.

Owns the reading of a message's bytes, a check of ours, and the two answers to a check. Pure: never sends, never keeps
state.
"""

from __future__ import annotations

import struct
from typing import Final

from aioice import stun

Message = stun.Message
Class = stun.Class
Address = tuple[str, int]
"""Host and port. An IPv6 host of link scope has its zone: `fe80::1%eth0`."""

MAX_MESSAGE_BYTES: Final = 1280
"""The longest message that is parsed: RFC 8489 section 6.1 allows no more, and ICE checks have about 100."""
_COOKIE: Final = b"\x21\x12\xa4\x42"
_HEADER_BYTES: Final = 20
_TYPE_CLASS: Final = 0x0110
_USERNAME: Final = 0x0006
_ATTRIBUTE: Final = struct.Struct("!HH")
_PRIORITY: Final = 0x6E0001FF
"""Of a peer-reflexive candidate, with the highest local preference but one (RFC 8445 section 7.1.1)."""


def is_message(data: bytes) -> bool:
    """Returns True if length and magic cookie are those of a STUN message (RFC 8489 section 5).

    The attributes are not looked at.
    """
    size = len(data)
    return (
        _HEADER_BYTES <= size <= MAX_MESSAGE_BYTES
        and data[0] < 4
        and data[4:8] == _COOKIE
        and size == _HEADER_BYTES + (data[2] << 8 | data[3])
    )


def message_class(data: bytes) -> Class:
    """Returns the class (request, indication, response or error) of a message that `is_message` accepted."""
    return Class((data[0] << 8 | data[1]) & _TYPE_CLASS)


def transaction_id(data: bytes) -> bytes:
    """Returns the 12 bytes that a response repeats, of a message that `is_message` accepted."""
    return data[8:20]


def addressed_ufrag(data: bytes) -> str | None:
    """Returns the receiver's ufrag, before the colon in USERNAME (RFC 8445 section 7.2.2); None without one.

    The rest is not parsed, so that a flood of foreign requests costs about a microsecond each.
    """
    position, end = _HEADER_BYTES, len(data) - 4
    while position <= end:
        kind, size = _ATTRIBUTE.unpack_from(data, position)
        position += 4
        if kind == _USERNAME:
            ufrag, colon, _ = data[position : position + size].partition(b":")
            return ufrag.decode("ascii", "replace") if colon else None
        position += size + (-size & 3)
    return None


def parse(data: bytes) -> Message | None:
    """Returns the message, or None if it is malformed or its FINGERPRINT does not match."""
    try:
        return stun.parse_message(data)
    except (ValueError, struct.error):  # aioice raises the latter for attributes of a wrong length
        return None


def is_check(message: Message) -> bool:
    """Returns True for a binding request with the attributes of a connectivity check (RFC 8445 section 7.1)."""
    attributes = message.attributes
    return (
        message.message_method == stun.Method.BINDING
        and message.message_class == Class.REQUEST
        and "USERNAME" in attributes
        and "MESSAGE-INTEGRITY" in attributes
        and "PRIORITY" in attributes
    )


def remote_ufrag(check: Message) -> str:
    """Returns the sender's ufrag, which stands behind the colon in USERNAME."""
    username: str = check.attributes["USERNAME"]
    return username.partition(":")[2]


def authentic(message: Message, pwd: str) -> bool:
    """Returns True if MESSAGE-INTEGRITY was made with `pwd` (RFC 8489 section 9.1)."""
    return message.check_message_integrity(pwd.encode())


def agrees(data: bytes, key: bytes) -> bool:
    """Returns True for a success response whose MESSAGE-INTEGRITY was made with `key`."""
    message = parse(data)
    return message is not None and message.message_class == Class.RESPONSE and message.check_message_integrity(key)


def request(username: str, pwd: str) -> Message:
    """Returns a check of a controlled agent, for the receiver whose ufrag `username` begins with and whose `pwd` it is.

    Its tie-breaker is the lowest: a peer that believes itself controlled takes the other role.
    """
    message = Message(stun.Method.BINDING, Class.REQUEST)
    message.attributes |= {"USERNAME": username, "PRIORITY": _PRIORITY, "ICE-CONTROLLED": 0}
    message.add_message_integrity(pwd.encode())
    return message


def success(check: Message, address: Address, pwd: str) -> bytes:
    """Returns the success response to a check that came from `address`."""
    response = Message(stun.Method.BINDING, Class.RESPONSE, check.transaction_id)
    response.attributes["XOR-MAPPED-ADDRESS"] = (address[0].partition("%")[0], address[1])
    response.add_message_integrity(pwd.encode())
    return bytes(response)


def role_conflict(check: Message, pwd: str) -> bytes:
    """Returns the 487 error response, which makes the sender take the other role (RFC 8445 section 7.3.1.1)."""
    response = Message(stun.Method.BINDING, Class.ERROR, check.transaction_id)
    response.attributes["ERROR-CODE"] = (487, "Role Conflict")
    response.add_message_integrity(pwd.encode())
    return bytes(response)
