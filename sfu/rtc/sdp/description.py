"""Session descriptions as values: a peer's SDP, the decisions about it, and the content of our own SDP.

Owns the shapes that `parse` makes, `negotiate` decides about and `write` turns into text. Never parses, never decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sfu.rtc.sdp.codec import Codec

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup = Literal["actpass", "active", "passive"]

# Header extensions: RFC 9143 section 15, RFC 8852, 3GPP TS 26.114, RFC 6464, abs-send-time, transport-wide numbers.
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
VIDEO_ORIENTATION = "urn:3gpp:video-orientation"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
EXTENSIONS = (MID, VIDEO_ORIENTATION, AUDIO_LEVEL, ABS_SEND_TIME)
"""The extensions that are accepted wherever they are offered. The others depend on more than the offer of an id."""
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"

CNAME = "sfu"
"""The canonical name (RFC 3550 section 6.5.1) of all that this server sends, in SDP and in sender reports."""


class SdpError(Exception):
    """A session description that cannot be used; `code` goes over the wire: bad_request, codec or too_large."""

    def __init__(self, code: Literal["bad_request", "codec", "too_large"], message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class TransportParameters:
    """ICE and DTLS of one m-section (RFC 8839, RFC 8842).

    `fingerprints` are (algorithm in lower case, value) pairs. `candidates` are as behind "a=": "candidate:1 1 udp ...".
    """

    ufrag: str
    pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: Setup
    candidates: tuple[str, ...] = ()
    end_of_candidates: bool = False

    @property
    def complete(self) -> bool:
        """Returns True if this is enough to connect. Later sections of a BUNDLE may leave parts out."""
        return bool(self.ufrag and self.pwd and self.fingerprints)


@dataclass(frozen=True, slots=True)
class Section:
    """One m-section of a remote description.

    `mid` is the index as text where the peer named none (`named` is False). `codecs` are the known ones, in the peer's
    order. `extensions` maps the URIs of known ones to ids; `one_way` has the direction of those that the peer would
    only send, only receive, or neither (RFC 8285 section 5). `rtx` maps payload types of retransmissions (RFC 4588) to
    those they repair. `repairs` does the same for SSRCs (RFC 5576 section 4.2); `ssrcs` leaves out those that only
    repair. `rids` are the layers that the peer would send, in its order (RFC 8853). `stream` and `track` are the two
    halves of the msid. `rejected` is True for port 0 without bundle-only.
    """

    index: int
    mid: str
    named: bool
    kind: str
    protocol: str
    formats: tuple[str, ...]
    direction: Direction
    rejected: bool
    rtcp_mux: bool
    codecs: tuple[Codec, ...]
    rtx: Mapping[int, int]
    extensions: Mapping[str, int]
    ssrcs: tuple[int, ...]
    repairs: Mapping[int, int]
    rids: tuple[str, ...]
    cname: str | None
    stream: str | None
    track: str | None
    transport: TransportParameters
    one_way: Mapping[str, Direction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Description:
    """A remote offer or answer. `transport` is that of its first usable section (the BUNDLE's, if any)."""

    origin: str
    sections: tuple[Section, ...]
    bundle: tuple[str, ...] | None
    ice_lite: bool
    transport: TransportParameters

    @property
    def ufrag(self) -> str:
        """Returns the ICE user fragment."""
        return self.transport.ufrag

    @property
    def pwd(self) -> str:
        """Returns the ICE password."""
        return self.transport.pwd

    @property
    def fingerprints(self) -> tuple[tuple[str, str], ...]:
        """Returns (algorithm in lower case, value) of the certificates (RFC 8122)."""
        return self.transport.fingerprints

    @property
    def setup(self) -> Setup:
        """Returns the DTLS role that the peer can take or took (RFC 8842)."""
        return self.transport.setup

    @property
    def candidates(self) -> tuple[str, ...]:
        """Returns the values of the candidate lines: "candidate:..."."""
        return self.transport.candidates

    @property
    def end_of_candidates(self) -> bool:
        """Returns True if the peer announced that no more candidates follow."""
        return self.transport.end_of_candidates


@dataclass(frozen=True, slots=True)
class Receive:
    """The streams that a peer may send us in a section; it is asked to send `codecs[0]`.

    `rids` are its layers in the offer's order, which does not tell their size; empty without simulcast.
    """

    codecs: tuple[Codec, ...]
    extensions: Mapping[str, int]
    ssrcs: tuple[int, ...]
    stream: str | None
    track: str | None
    rtx: Mapping[int, int] = field(default_factory=dict)
    """Payload type of retransmissions -> the payload type they repair."""
    repairs: Mapping[int, int] = field(default_factory=dict)
    """SSRC of retransmissions -> the SSRC they repair, where the offer signals it."""
    rids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """A slot: the stream that we may send in a section, with the peer's payload types and extension ids."""

    codecs: tuple[Codec, ...]
    extensions: Mapping[str, int]
    ssrc: int
    stream: str
    track: str
    rtx: Mapping[int, int] = field(default_factory=dict)
    """Payload type -> the payload type of its retransmissions."""
    rtx_ssrc: int | None = None
    """The SSRC of retransmissions; None if the viewer accepts none."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """One section of our answer. `direction` is ours; `rejected` is the reason for port 0, or None.

    `rtx` maps payload types to those of their retransmissions. `one_way` has our direction of the extensions that do
    not go both ways. `rids` are the layers that the peer may send; it keeps them while it sends nothing.
    """

    index: int
    mid: str
    named: bool
    kind: str
    protocol: str
    formats: tuple[str, ...]
    direction: Direction
    codecs: tuple[Codec, ...] = ()
    rtx: Mapping[int, int] = field(default_factory=dict)
    extensions: Mapping[str, int] = field(default_factory=dict)
    receive: Receive | None = None
    send: Send | None = None
    rejected: str | None = None
    unknown_codecs: bool = False
    """True if the peer would send here, but only in codecs that the server does not know."""
    one_way: Mapping[str, Direction] = field(default_factory=dict)
    rids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The decisions about one offer: an entry per section, our DTLS role, and the remote ICE and DTLS parameters."""

    sections: tuple[Agreed, ...]
    bundle: tuple[str, ...] | None
    setup: Literal["passive", "active"]
    ice_lite: bool
    ufrag: str
    pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    candidates: tuple[str, ...]
    end_of_candidates: bool

    @property
    def repeats(self) -> bool:
        """Returns True if lost video may have to be sent again under its own sequence numbers: a codec has no RTX."""
        sends = [section.send for section in self.sections if section.send and section.kind == "video"]
        return any(codec.payload_type not in send.rtx for send in sends for codec in send.codecs)


@dataclass(frozen=True, slots=True)
class Local:
    """Our own side of the transport.

    `fingerprint` is the SHA-256 value ("AA:BB:..."). `candidates` are as behind "a=candidate:", or with "candidate:" in
    front.
    """

    ufrag: str
    pwd: str
    fingerprint: str
    candidates: tuple[str, ...]
    lite: bool


@dataclass(frozen=True, slots=True)
class OfferSection:
    """One section of an offer of our own client peers.

    `ssrc`, `rtx_ssrc`, `stream`, `track` and `rids` are for sections that send; `rtx` maps payload types to those of
    their retransmissions.
    """

    mid: str
    kind: Literal["audio", "video"]
    direction: Direction
    codecs: tuple[Codec, ...]
    extensions: Mapping[str, int] = field(default_factory=dict)
    ssrc: int | None = None
    stream: str | None = None
    track: str | None = None
    cname: str = CNAME
    rtx: Mapping[int, int] = field(default_factory=dict)
    rtx_ssrc: int | None = None
    rids: tuple[str, ...] = ()
