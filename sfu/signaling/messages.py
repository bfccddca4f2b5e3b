"""Signalling messages: bytes to envelopes and back (docs/protocol.md sections 3 to 5).

Owns the JSON around the `bodies`. Pure: never knows SDP or the rights of a peer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sfu.signaling.bodies import (
    MAX_NAME,
    MAX_PAYLOAD_BYTES,
    Answer,
    Body,
    Bye,
    Candidate,
    ErrorCode,
    ErrorNotice,
    Offer,
    Select,
    SignalError,
    Sizes,
    Tracks,
    bad_request,
    read_object,
    read_optional,
    read_text,
)

_CLIENT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SESSION = re.compile(r"[\x21-\x7e]{8,64}")
_MAX_TOKEN = 4096
_MAX_KID = 1024
_MAX_NUMBER = (1 << 53) - 1
"""The largest integer that every JSON reader holds exactly (RFC 8259 section 6)."""
SEALED = "sealed"
"""The type of a message whose `data` only its two ends can read."""

_BODIES: Mapping[str, type[Body]] = {
    body.type: body for body in (Offer, Answer, Candidate, Bye, ErrorNotice, Tracks, Select, Sizes)
}
# These ask for something; the others get no error back.
_ANSWERABLE = frozenset((Offer.type, Select.type))


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message: its sender, its session (None: a legacy peer) and its body."""

    clientid: str
    body: Body
    session: str | None = None
    token: str | None = None
    opts: Mapping[str, object] = field(default_factory=dict)
    n: int | None = None
    """In a sealed message its number, which grows; None in any other."""


def parse(payload: bytes) -> Envelope | None:
    """Reads a message from bytes: JSON in UTF-8, else in Latin-1.

    Returns None if the message is to be ignored: it is not signalling, or of a type that a newer version has. Raises
    SignalError, `too_large` over 64 KiB, else `bad_request`, and nothing else.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SignalError(ErrorCode.TOO_LARGE, f"a message has at most {MAX_PAYLOAD_BYTES} bytes")
    message = read_object(_json(payload), "the message")
    kind, session = message.get("type"), _session(message)
    if isinstance(kind, str) and kind in _ANSWERABLE and message.get("command") is None:
        raise SignalError(ErrorCode.BAD_REQUEST, 'a message needs "command": "signal"', session=session)
    if message.get("command") != "signal" or not isinstance(kind, str) or kind not in _BODIES:
        return None
    try:
        return _envelope(message, _BODIES[kind], session)
    except SignalError as error:
        error.session, error.answerable = session, kind in _ANSWERABLE
        raise


def session_of(payload: bytes) -> str | None:
    """Returns the session of a message that is not read further; None if it has none that is readable."""
    try:
        message = _json(payload) if len(payload) <= MAX_PAYLOAD_BYTES else None
    except SignalError:
        return None
    return _session(message) if isinstance(message, dict) else None


def dump(envelope: Envelope) -> bytes:
    """Returns the bytes of a message, in ASCII: the original app reads one byte per character.

    Raises SignalError `too_large` over 64 KiB.
    """
    message: dict[str, object] = {
        "command": "signal",
        "clientid": envelope.clientid,
        "type": envelope.body.type,
        "data": envelope.body.write(),
    }
    if envelope.session is not None:
        message |= {"v": 2, "session": envelope.session}
    if envelope.token is not None:
        message["token"] = envelope.token
    if envelope.n is not None:
        message["n"] = envelope.n
    if envelope.opts:
        message["opts"] = dict(envelope.opts)
    payload = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SignalError(
            ErrorCode.TOO_LARGE, f"the {envelope.body.type} has {len(payload)} of {MAX_PAYLOAD_BYTES} bytes"
        )
    return payload


def numbered(payload: bytes, number: int) -> bytes:
    """Returns a message of `dump` with a number, to be sealed."""
    return payload[:-1] + f',"n":{number}}}'.encode("ascii")


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """The outer form of a sealed message: its sender, the open part of its token, and what is sealed (base64url)."""

    clientid: str
    kid: str
    data: str


def parse_sealed(payload: bytes) -> SealedFrame | None:
    """Reads a sealed message; None if the message is of another type. Raises SignalError as `parse` does."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SignalError(ErrorCode.TOO_LARGE, f"a message has at most {MAX_PAYLOAD_BYTES} bytes")
    message = read_object(_json(payload), "the message")
    if message.get("command") != "signal" or message.get("type") != SEALED:
        return None
    return SealedFrame(
        clientid=_clientid(message),
        kid=read_text(message.get("kid"), "kid", _MAX_KID),
        data=read_text(message.get("data"), "data", MAX_PAYLOAD_BYTES),
    )


def dump_sealed(frame: SealedFrame) -> bytes:
    """Returns the bytes of a sealed message. Raises SignalError `too_large` over 64 KiB."""
    message = {"command": "signal", "clientid": frame.clientid, "type": SEALED, "v": 2}
    payload = json.dumps(message | {"kid": frame.kid, "data": frame.data}, separators=(",", ":")).encode("ascii")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SignalError(ErrorCode.TOO_LARGE, f"sealed, the message has {len(payload)} of {MAX_PAYLOAD_BYTES} bytes")
    return payload


@dataclass(frozen=True, slots=True, repr=False)
class Command:
    """A command for a room in JSON: its word (`ON`), and a token or, where it is sealed, a number."""

    word: str
    token: str | None = None
    n: int | None = None


def parse_command(payload: bytes) -> Command:
    """Reads a command; of a sealed one not yet opened, `word` is what is sealed. Raises SignalError."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SignalError(ErrorCode.TOO_LARGE, f"a message has at most {MAX_PAYLOAD_BYTES} bytes")
    fields = read_object(_json(payload), "the command")
    return Command(
        word=read_text(fields.get("data"), "data", MAX_PAYLOAD_BYTES),
        token=read_optional(fields, "token", _MAX_TOKEN),
        n=_number(fields.get("n")),
    )


def _session(message: Mapping[str, object]) -> str | None:
    session = message.get("session")
    return session if isinstance(session, str) and _SESSION.fullmatch(session) else None


def _envelope(message: Mapping[str, object], body: type[Body], session: str | None) -> Envelope:
    clientid = _clientid(message)
    if session is None and message.get("session") is not None:
        raise bad_request("session must have 8 to 64 printable ASCII characters")
    opts = message.get("opts")
    return Envelope(
        clientid=clientid,
        body=body.read(message.get("data")),
        session=session,
        token=read_optional(message, "token", _MAX_TOKEN),
        opts={} if opts is None else read_object(opts, "opts"),
        n=_number(message.get("n")),
    )


def _number(value: object) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value <= _MAX_NUMBER):
        raise bad_request("n must be an integer of 0 to 2^53 - 1")
    return value


def _clientid(message: Mapping[str, object]) -> str:
    clientid = read_text(message.get("clientid"), "clientid", MAX_NAME)
    if not _CLIENT_ID.fullmatch(clientid):
        raise bad_request("clientid has characters outside A-Z a-z 0-9 _ . : -")
    return clientid


def _json(payload: bytes) -> object:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        text = payload.decode("latin-1")
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        raise bad_request("the message is not JSON") from None


def _finite(text: str) -> float:
    """Returns the number. Raises ValueError for NaN, infinity and `1e999`: JSON lacks them."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
