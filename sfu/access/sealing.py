"""Sealed messages: signalling on a broker that strangers read (docs/protocol.md, "Sealed messages").

Owns the keys derived from a token's signature, which is never sent, and what a seal binds: the direction, the topic and
the server's boot id. Pure: nonces come in as arguments. Never knows what a message says, or who may send it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 16
_INFO: Final = b"mqtt-sfu seal 1 "


class SealError(Exception):
    """A message that this key does not open. The text has nothing of it."""


class Speaker(StrEnum):
    """The side that seals. Each direction has its own key: no message can be sent back as an answer."""

    SERVER = "server"
    PEER = "peer"


@dataclass(frozen=True, slots=True, repr=False)
class Seal:
    """Both keys of one token. `kid` is its part that is sent: header and payload, without the signature."""

    kid: str
    keys: dict[Speaker, AESGCM]

    @classmethod
    def of_token(cls, token: str) -> Seal:
        """Returns the seal of a whole token. Raises ValueError if it is none."""
        kid, dot, signature = token.rpartition(".")
        if not dot or kid.count(".") != 1:
            raise ValueError("this is no token")
        return cls(kid, _derive(_decode(signature)))

    @classmethod
    def of_kid(cls, kid: str, key: bytes) -> Seal:
        """Returns the seal of the token that `key` signed with HS256. Raises ValueError if it is none."""
        return cls.of_token(token_of_kid(kid, key))

    def close(self, inner: bytes, *, speaker: Speaker, topic: str, boot: str, nonce: bytes) -> str:
        """Returns the `data` of a sealed message. A nonce (12 bytes) must never be used twice."""
        return _encode(nonce + self.keys[speaker].encrypt(nonce, inner, _bound(topic, boot)))

    def open(self, data: str, *, speaker: Speaker, topic: str, boot: str) -> bytes:
        """Returns what `speaker` sealed for this topic and boot id. Raises SealError."""
        try:
            octets = _decode(data)
            if len(octets) < NONCE_BYTES + _TAG_BYTES:
                raise SealError("the message is too short")
            nonce, sealed = octets[:NONCE_BYTES], octets[NONCE_BYTES:]
            return self.keys[speaker].decrypt(nonce, sealed, _bound(topic, boot))
        except (InvalidTag, ValueError):
            raise SealError("the key does not open this message") from None


def token_of_kid(kid: str, key: bytes) -> str:
    """Returns the whole token that `key` signs for this header and payload (RFC 7515 section 5.1)."""
    return f"{kid}.{_encode(hmac.digest(key, kid.encode('ascii', 'replace'), hashlib.sha256))}"


def _derive(signature: bytes) -> dict[Speaker, AESGCM]:
    return {
        speaker: AESGCM(HKDF(SHA256(), _KEY_BYTES, None, _INFO + speaker.encode()).derive(signature))
        for speaker in Speaker
    }


def _bound(topic: str, boot: str) -> bytes:
    """Returns what is not sent and must be the same on both sides (RFC 5116, associated data)."""
    return f"{topic}\n{boot}".encode()


def _encode(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Reads base64url without padding (RFC 7515 section 2), in its only form. Raises ValueError."""
    try:
        octets = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        octets = b""
    if _encode(octets) != text:
        raise ValueError("this is no base64url")
    return octets
