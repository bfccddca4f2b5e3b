"""Bodies of signalling messages: one class for each `type`, with its JSON shape and bounds, and the error codes.

Owns the `data` field of a message (docs/protocol.md sections 3 to 5). Pure: never knows the envelope around it, SDP, or
the rights of a peer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

from sfu.signaling.topics import valid_peer, valid_room

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_NAME = 64
_MAX_TEXT = 1024
_MAX_SLOTS = 64
_MAX_PIXELS = 100_000
_MAX_RETRY_S = 86_400


class ErrorCode(StrEnum):
    """The codes of an `error` message."""

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
    REPLAYED = "replayed"
    """The number of a sealed message is not above the last one, which `ErrorNotice.last` is."""


_ERROR_CODES = frozenset(ErrorCode)


class SignalError(Exception):
    """A fault in a message or request of a remote, with its code on the wire.

    `session`: the session of the faulty message, if it could be read. `answerable`: True if an `error` message should
    answer it; errors, answers and candidates get none, or two sides could keep each other busy.
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
        """Reads the message's `data`. Raises SignalError if it is not a text."""
        return cls(read_text(data, "data", MAX_PAYLOAD_BYTES))

    def write(self) -> object:
        """Returns the message's `data`."""
        return self.sdp


@dataclass(frozen=True, slots=True)
class Offer(_Description):
    """An SDP offer (RFC 8866), not parsed."""

    type: ClassVar[str] = "offer"


@dataclass(frozen=True, slots=True)
class Answer(_Description):
    """An SDP answer with all its candidates, not parsed."""

    type: ClassVar[str] = "answer"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One trickled ICE candidate (RFC 8840); `candidate` None: the last one has been sent."""

    type: ClassVar[str] = "candidate"
    candidate: str | None
    mid: str | None = None
    index: int | None = None

    @classmethod
    def read(cls, data: object) -> Self:
        """Reads the message's `data`: null or an object. In W3C's words an empty candidate also ends the candidates."""
        if data is None:
            return cls(None)
        fields = read_object(data, "data")
        index = fields.get("sdpMLineIndex")
        if index is not None and (type(index) is not int or not 0 <= index <= _MAX_SLOTS):
            raise bad_request("sdpMLineIndex must be a small integer")
        candidate = read_optional(fields, "candidate", _MAX_TEXT)
        return cls(candidate or None, read_optional(fields, "sdpMid", MAX_NAME), index)

    def write(self) -> object:
        """Returns the message's `data`."""
        if self == Candidate(None):
            return None
        return {"candidate": self.candidate or "", "sdpMid": self.mid, "sdpMLineIndex": self.index}


@dataclass(frozen=True, slots=True)
class Bye:
    """The end of a session, sent by either side."""

    type: ClassVar[str] = "bye"
    reason: str = ""

    @classmethod
    def read(cls, data: object) -> Self:
        """Reads the message's `data`. Never raises: the sender has gone, even if its reason cannot be read."""
        reason = data.get("reason") if isinstance(data, dict) else None
        return cls(reason[:_MAX_TEXT] if isinstance(reason, str) and _encodable(reason) else "")

    def write(self) -> object:
        """Returns the message's `data`."""
        return {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class ErrorNotice:
    """The reason why a request of the receiver failed; `retry_after` in seconds."""

    type: ClassVar[str] = "error"
    code: ErrorCode
    message: str
    retry_after: float | None = None
    last: int | None = None
    """The highest number that the sender of `replayed` has seen."""

    @classmethod
    def read(cls, data: object) -> Self:
        """Reads the message's `data`. An unknown code, of a newer server, reads as `internal`."""
        fields = read_object(data, "data")
        code = read_text(fields.get("code"), "code", MAX_NAME)
        retry_after, last = fields.get("retry_after"), fields.get("last")
        if not isinstance(retry_after, int | float | None):
            raise bad_request("retry_after must be seconds")
        return cls(
            ErrorCode(code) if code in _ERROR_CODES else ErrorCode.INTERNAL,
            read_text(fields.get("message"), "message", _MAX_TEXT),
            None if retry_after is None else float(min(max(retry_after, 0), _MAX_RETRY_S)),
            last if type(last) is int and last >= 0 else None,
        )

    def write(self) -> object:
        """Returns the message's `data`."""
        optional = {"retry_after": self.retry_after, "last": self.last}
        given = {name: value for name, value in optional.items() if value is not None}
        return {"code": self.code, "message": self.message} | given


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The track in a slot: its room, peer and id, and the name of its codec."""

    room: str
    peer: str
    track: str
    codec: str

    @classmethod
    def read(cls, data: object) -> Self:
        """Reads a slot's `source`. Raises SignalError if a field is missing."""
        fields = read_object(data, "source")
        return cls(*(read_text(fields.get(name), name, _MAX_TEXT) for name in cls.__slots__))

    def write(self) -> object:
        """Returns the slot's `source`."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """One slot of a viewer: the track in it, or the reason why there is none."""

    mid: str
    kind: str
    source: SourceStatus | None = None
    reason: str | None = None

    @classmethod
    def read(cls, data: object) -> Self:
        """Reads one item of `slots`."""
        fields = read_object(data, "slot")
        source = fields.get("source")
        return cls(
            read_text(fields.get("mid"), "mid", MAX_NAME),
            read_text(fields.get("kind"), "kind", MAX_NAME),
            None if source is None else SourceStatus.read(source),
            read_optional(fields, "reason", _MAX_TEXT),
        )

    def write(self) -> object:
        """Returns one item of `slots`."""
        source = None if self.source is None else self.source.write()
        data: dict[str, object] = {"mid": self.mid, "kind": self.kind, "source": source}
        return data if self.reason is None else data | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class Tracks:
    """The contents of a v2 peer's slots, sent by the server on each change."""

    type: ClassVar[str] = "tracks"
    slots: tuple[SlotStatus, ...]

    @classmethod
    def read(cls, data: object) -> Self:
        """Reads the message's `data`."""
        slots = read_object(data, "data").get("slots")
        if not isinstance(slots, list) or len(slots) > _MAX_SLOTS:
            raise bad_request(f"slots must be a list of at most {_MAX_SLOTS}")
        return cls(tuple(SlotStatus.read(slot) for slot in slots))

    def write(self) -> object:
        """Returns the message's `data`."""
        return {"slots": [slot.write() for slot in self.slots]}


@dataclass(frozen=True, slots=True)
class Select:
    """A peer's wish to have a producer in a slot; `peer` None empties the slot."""

    type: ClassVar[str] = "select"
    mid: str
    peer: str | None
    room: str | None = None
    track: str | None = None
    layer: str | None = None

    @classmethod
    def read(cls, data: object) -> Self:
        """Reads the message's `data`. `peer` is required, null included, so that no slot is emptied by mistake."""
        fields = read_object(data, "data")
        if "peer" not in fields:
            raise bad_request("peer is missing")
        peer = read_optional(fields, "peer", MAX_NAME)
        if peer is not None and not valid_peer(peer):
            raise bad_request("peer is not a peer's id")
        room = read_optional(fields, "room", _MAX_TEXT)
        if room is not None and not valid_room(room):
            raise bad_request("room is not a room")
        return cls(
            mid=read_text(fields.get("mid"), "mid", MAX_NAME),
            peer=peer,
            room=room,
            track=read_optional(fields, "track", _MAX_TEXT),
            layer=read_optional(fields, "layer", MAX_NAME),
        )

    def write(self) -> object:
        """Returns the message's `data`."""
        optional = {"room": self.room, "track": self.track, "layer": self.layer}
        return {"mid": self.mid, "peer": self.peer} | {name: value for name, value in optional.items() if value}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of some of a peer's windows, in pixels of its screen; 0 for a window out of sight."""

    type: ClassVar[str] = "sizes"
    windows: Mapping[str, tuple[int, int]]
    """Width and height, by mid."""

    @classmethod
    def read(cls, data: object) -> Self:
        """Reads the message's `data`."""
        slots = read_object(data, "data").get("slots")
        if not isinstance(slots, list) or len(slots) > _MAX_SLOTS:
            raise bad_request(f"slots must be a list of at most {_MAX_SLOTS}")
        items = [read_object(slot, "slot") for slot in slots]
        return cls(
            {
                read_text(item.get("mid"), "mid", MAX_NAME): (_pixels(item.get("width")), _pixels(item.get("height")))
                for item in items
            }
        )

    def write(self) -> object:
        """Returns the message's `data`."""
        return {"slots": [{"mid": mid, "width": size[0], "height": size[1]} for mid, size in self.windows.items()]}


Body = Offer | Answer | Candidate | Bye | ErrorNotice | Tracks | Select | Sizes


def read_object(value: object, name: str) -> dict[str, object]:
    """Returns `value`. Raises SignalError, which calls it `name`, unless it is a JSON object."""
    if not isinstance(value, dict):
        raise bad_request(f"{name} must be an object")
    return value


def _pixels(value: object) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _MAX_PIXELS:
        raise bad_request(f"width and height must be 0 to {_MAX_PIXELS}")
    return round(value)


def read_text(value: object, name: str, limit: int) -> str:
    """Returns `value`. Raises SignalError unless it is a text of 1 to `limit` characters that UTF-8 can encode."""
    if not isinstance(value, str) or not 0 < len(value) <= limit or not _encodable(value):
        raise bad_request(f"{name} must be a text of 1 to {limit} characters")
    return value


def read_optional(fields: Mapping[str, object], name: str, limit: int) -> str | None:
    """Returns the text under `name`; None if it is absent, null or empty."""
    value = fields.get(name)
    return None if value in (None, "") else read_text(value, name, limit)


def _encodable(text: str) -> bool:
    """Returns False for lone surrogates, which JSON can contain and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def bad_request(message: str) -> SignalError:
    """Returns the error of a malformed message, to be raised."""
    return SignalError(ErrorCode.BAD_REQUEST, message)
