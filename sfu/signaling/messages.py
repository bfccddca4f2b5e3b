"""Signalling messages: bytes to values and back (CONTRACT, "Signalling messages").

Owns the JSON shapes, their bounds and the error codes. Pure: knows neither SDP nor who is allowed what.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Self

from sfu.signaling.topics import valid_peer, valid_room

MAX_PAYLOAD = 64 * 1024

_CLIENT_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SESSION = re.compile(r"[\x21-\x7e]{8,64}")
_MAX_TOKEN = 4096
_MAX_NAME = 64
_MAX_WORDS = 1024
_MAX_SLOTS = 64
_MAX_RETRY_S = 86_400


class ErrorCode(StrEnum):
    """Every code that an `error` message can carry."""

    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    ROOM_NOT_FOUND = "room_not_found"
    PRODUCER_EXISTS = "producer_exists"
    LIMIT = "limit"
    CODEC = "codec"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"


_ERROR_CODES = frozenset(ErrorCode)


class SignalError(Exception):
    """A fault in what a remote sent or asked, with its code on the wire.

    `session` is the session of the faulty message as far as it could be read; `answerable` says whether its sender
    should be told: never about an error, an answer or a candidate, or two sides could keep each other busy.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retry_after: float | None = None,
        session: str | None = None,
        answerable: bool = True,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.session = session
        self.answerable = answerable


@dataclass(frozen=True, slots=True)
class _Description:
    sdp: str

    @classmethod
    def read(cls, data: object) -> Self:
        """From the message's `data`; SignalError when it is not a text."""
        return cls(_text(data, "data", MAX_PAYLOAD))

    def write(self) -> object:
        """The message's `data`."""
        return self.sdp


@dataclass(frozen=True, slots=True)
class Offer(_Description):
    """An SDP offer (RFC 8866), unparsed."""

    type: ClassVar[str] = "offer"


@dataclass(frozen=True, slots=True)
class Answer(_Description):
    """An SDP answer, unparsed, complete with all candidates."""

    type: ClassVar[str] = "answer"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One trickled ICE candidate (RFC 8840); `candidate` None means that no more will come."""

    type: ClassVar[str] = "candidate"
    candidate: str | None
    mid: str | None = None
    index: int | None = None

    @classmethod
    def read(cls, data: object) -> Self:
        """From the message's `data`, null or an object; an empty candidate is the W3C's other end-of-candidates."""
        if data is None:
            return cls(None)
        fields = _object(data, "data")
        index = fields.get("sdpMLineIndex")
        if index is not None and (type(index) is not int or not 0 <= index <= _MAX_SLOTS):
            raise _bad("sdpMLineIndex must be a small integer")
        candidate = _optional(fields, "candidate", _MAX_WORDS)
        return cls(candidate or None, _optional(fields, "sdpMid", _MAX_NAME), index)

    def write(self) -> object:
        """The message's `data`."""
        if self == Candidate(None):
            return None
        return {"candidate": self.candidate or "", "sdpMid": self.mid, "sdpMLineIndex": self.index}


@dataclass(frozen=True, slots=True)
class Bye:
    """The sender ends the session."""

    type: ClassVar[str] = "bye"
    reason: str = ""

    @classmethod
    def read(cls, data: object) -> Self:
        """From the message's `data`; whoever says bye has gone, however badly put."""
        reason = data.get("reason") if isinstance(data, dict) else None
        return cls(reason[:_MAX_WORDS] if isinstance(reason, str) and _encodable(reason) else "")

    def write(self) -> object:
        """The message's `data`."""
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class ErrorNotice:
    """What went wrong with something the receiver asked; `retry_after` in seconds."""

    type: ClassVar[str] = "error"
    code: ErrorCode
    message: str
    retry_after: float | None = None

    @classmethod
    def read(cls, data: object) -> Self:
        """From the message's `data`; a code of a newer server reads as `internal`."""
        fields = _object(data, "data")
        code = _text(fields.get("code"), "code", _MAX_NAME)
        retry_after = fields.get("retry_after")
        if not isinstance(retry_after, int | float | None):
            raise _bad("retry_after must be seconds")
        return cls(
            ErrorCode(code) if code in _ERROR_CODES else ErrorCode.INTERNAL,
            _text(fields.get("message"), "message", _MAX_WORDS),
            None if retry_after is None else float(min(max(retry_after, 0), _MAX_RETRY_S)),
        )

    def write(self) -> object:
        """The message's `data`."""
        data: dict[str, object] = {"code": self.code, "message": self.message}
        return data if self.retry_after is None else data | {"retry_after": self.retry_after}


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The track that a slot shows: whose, in which room, and its codec's name."""

    room: str
    peer: str
    track: str
    codec: str

    @classmethod
    def read(cls, data: object) -> Self:
        """From a slot's `source`; SignalError when a field is missing."""
        fields = _object(data, "source")
        return cls(*(_text(fields.get(name), name, _MAX_WORDS) for name in cls.__slots__))

    def write(self) -> object:
        """The slot's `source`."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """One slot of a viewer: what it shows, or why nothing."""

    mid: str
    kind: str
    source: SourceStatus | None = None
    reason: str | None = None

    @classmethod
    def read(cls, data: object) -> Self:
        """From one item of `slots`."""
        fields = _object(data, "slot")
        source = fields.get("source")
        return cls(
            _text(fields.get("mid"), "mid", _MAX_NAME),
            _text(fields.get("kind"), "kind", _MAX_NAME),
            None if source is None else SourceStatus.read(source),
            _optional(fields, "reason", _MAX_WORDS),
        )

    def write(self) -> object:
        """One item of `slots`."""
        source = None if self.source is None else self.source.write()
        data: dict[str, object] = {"mid": self.mid, "kind": self.kind, "source": source}
        return data if self.reason is None else data | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class Tracks:
    """Server to a v2 peer, on each change: what each of its slots shows."""

    type: ClassVar[str] = "tracks"
    slots: tuple[SlotStatus, ...]

    @classmethod
    def read(cls, data: object) -> Self:
        """From the message's `data`."""
        slots = _object(data, "data").get("slots")
        if not isinstance(slots, list) or len(slots) > _MAX_SLOTS:
            raise _bad(f"slots must be a list of at most {_MAX_SLOTS}")
        return cls(tuple(SlotStatus.read(slot) for slot in slots))

    def write(self) -> object:
        """The message's `data`."""
        return {"slots": [slot.write() for slot in self.slots]}


@dataclass(frozen=True, slots=True)
class Select:
    """Peer to server: put this producer in that slot; `peer` None empties it."""

    type: ClassVar[str] = "select"
    mid: str
    peer: str | None
    room: str | None = None
    track: str | None = None
    layer: str | None = None

    @classmethod
    def read(cls, data: object) -> Self:
        """From the message's `data`; `peer` must be said, if only as null: emptying a slot by a slip is no service."""
        fields = _object(data, "data")
        if "peer" not in fields:
            raise _bad("peer is missing")
        peer = _optional(fields, "peer", _MAX_NAME)
        if peer is not None and not valid_peer(peer):
            raise _bad("peer is not a peer's id")
        room = _optional(fields, "room", _MAX_WORDS)
        if room is not None and not valid_room(room):
            raise _bad("room is not a room")
        return cls(
            mid=_text(fields.get("mid"), "mid", _MAX_NAME),
            peer=peer,
            room=room,
            track=_optional(fields, "track", _MAX_WORDS),
            layer=_optional(fields, "layer", _MAX_NAME),
        )

    def write(self) -> object:
        """The message's `data`."""
        optional = {"room": self.room, "track": self.track, "layer": self.layer}
        return {"mid": self.mid, "peer": self.peer} | {name: value for name, value in optional.items() if value}


Body = Offer | Answer | Candidate | Bye | ErrorNotice | Tracks | Select

_BODIES: Mapping[str, type[Body]] = {
    body.type: body for body in (Offer, Answer, Candidate, Bye, ErrorNotice, Tracks, Select)
}
# What asks for something; the rest tells, and gets no error back.
_ANSWERABLE = frozenset((Offer.type, Select.type))


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message: who speaks, in which session (None: a legacy peer), and what is said."""

    clientid: str
    body: Body
    session: str | None = None
    token: str | None = None
    opts: Mapping[str, object] = field(default_factory=dict)


def parse(payload: bytes) -> Envelope | None:
    """A message from its bytes: JSON in UTF-8, else Latin-1.

    None: to be ignored, since it is not signalling or of a type from the future. SignalError `too_large` over 64 KiB,
    `bad_request` for everything that is not a well-formed message; nothing else is ever raised.
    """
    if len(payload) > MAX_PAYLOAD:
        raise SignalError(ErrorCode.TOO_LARGE, f"a message has at most {MAX_PAYLOAD} bytes")
    message = _object(_json(payload), "the message")
    kind = message.get("type")
    if message.get("command") != "signal" or not isinstance(kind, str) or kind not in _BODIES:
        return None
    session = message.get("session")
    readable = session if isinstance(session, str) and _SESSION.fullmatch(session) else None
    try:
        return _envelope(message, _BODIES[kind], readable)
    except SignalError as error:
        error.session, error.answerable = readable, kind in _ANSWERABLE
        raise


def dump(envelope: Envelope) -> bytes:
    """The bytes of a message, ASCII only: the original app reads one byte per character.

    SignalError `too_large` when it would not fit into 64 KiB.
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
    if envelope.opts:
        message["opts"] = dict(envelope.opts)
    payload = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(payload) > MAX_PAYLOAD:
        raise SignalError(ErrorCode.TOO_LARGE, f"the {envelope.body.type} has {len(payload)} of {MAX_PAYLOAD} bytes")
    return payload


def _envelope(message: Mapping[str, object], body: type[Body], session: str | None) -> Envelope:
    clientid = _text(message.get("clientid"), "clientid", _MAX_NAME)
    if not _CLIENT_ID.fullmatch(clientid):
        raise _bad("clientid has characters outside A-Z a-z 0-9 _ . : -")
    if session is None and message.get("session") is not None:
        raise _bad("session must have 8 to 64 printable ASCII characters")
    opts = message.get("opts")
    return Envelope(
        clientid=clientid,
        body=body.read(message.get("data")),
        session=session,
        token=_optional(message, "token", _MAX_TOKEN),
        opts={} if opts is None else _object(opts, "opts"),
    )


def _json(payload: bytes) -> object:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        text = payload.decode("latin-1")
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        raise _bad("the message is not JSON") from None


def _finite(text: str) -> float:
    """JSON has no NaN and no infinity, though Python's parser takes both, and `1e999` as well."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _object(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _bad(f"{name} must be an object")
    return value


def _text(value: object, name: str, limit: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limit or not _encodable(value):
        raise _bad(f"{name} must be a text of 1 to {limit} characters")
    return value


def _optional(fields: Mapping[str, object], name: str, limit: int) -> str | None:
    """The text under `name`; None when it is absent, null or empty."""
    value = fields.get(name)
    return None if value in (None, "") else _text(value, name, limit)


def _encodable(text: str) -> bool:
    """False for lone surrogates: JSON can spell them, nothing behind us can write them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad(message: str) -> SignalError:
    return SignalError(ErrorCode.BAD_REQUEST, message)
