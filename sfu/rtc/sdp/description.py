"""Session descriptions as values: what a peer's SDP says, what was agreed, what our own SDP has to say.

Owns the shapes that `sdp` reads, `writing` writes and `negotiation` decides about. Never parses and never decides.
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
"""Those taken wherever they are offered; the others need more than the offer of an id."""
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"

# The one canonical name (RFC 3550 section 6.5.1) of everything this server sends: sender reports must say the same.
CNAME = "sfu"


class SdpError(Exception):
    """A session description that cannot be used; `code` is the wire's: bad_request, codec or too_large."""

    def __init__(self, code: Literal["bad_request", "codec", "too_large"], message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class TransportParameters:
    """ICE and DTLS of one m-section (RFC 8839, RFC 8842); `candidates` as after "a=": "candidate:1 1 udp ..."."""

    ufrag: str
    pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: Setup
    candidates: tuple[str, ...] = ()
    end_of_candidates: bool = False

    @property
    def complete(self) -> bool:
        """Whether it is enough to connect (the sections behind the first of a BUNDLE may leave it out)."""
        return bool(self.ufrag and self.pwd and self.fingerprints)


@dataclass(frozen=True, slots=True)
class Section:
    """One m-section of a remote description.

    `mid` is the index as text where the peer named none (`named` False). `codecs` are those this server knows, in the
    peer's order. `extensions` map URI to id. `rtx` maps payload types of retransmissions (RFC 4588) to those they
    repair; `ssrcs` are without those that only repair, which `repairs` maps to the repaired ones (RFC 5576 section
    4.2). `rids` are the layers the peer would send, in its order (RFC 8853). `stream` and `track` are the msid's two
    halves. `rejected`: port 0 and not bundle-only.
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


@dataclass(frozen=True, slots=True)
class Description:
    """What a remote offer or answer says. `transport` is that of its first usable section (the BUNDLE's, if any)."""

    origin: str
    sections: tuple[Section, ...]
    bundle: tuple[str, ...] | None
    ice_lite: bool
    transport: TransportParameters

    @property
    def ufrag(self) -> str:
        """The ICE user fragment."""
        return self.transport.ufrag

    @property
    def pwd(self) -> str:
        """The ICE password."""
        return self.transport.pwd

    @property
    def fingerprints(self) -> tuple[tuple[str, str], ...]:
        """(algorithm in lower case, value) of the certificates, RFC 8122."""
        return self.transport.fingerprints

    @property
    def setup(self) -> Setup:
        """The DTLS role the peer can take or took, RFC 8842."""
        return self.transport.setup

    @property
    def candidates(self) -> tuple[str, ...]:
        """Values of the candidate lines: "candidate:..."."""
        return self.transport.candidates

    @property
    def end_of_candidates(self) -> bool:
        """Whether the peer said that no candidate follows."""
        return self.transport.end_of_candidates


@dataclass(frozen=True, slots=True)
class Receive:
    """What a peer may send us in a section: `codecs[0]` is what it is asked to send.

    `rids` are its layers in the offer's order, which says nothing of their size; none without simulcast.
    """

    codecs: tuple[Codec, ...]
    extensions: Mapping[str, int]
    ssrcs: tuple[int, ...]
    stream: str | None
    track: str | None
    rtx: Mapping[int, int] = field(default_factory=dict)
    """Payload type of retransmissions -> the payload type they repair."""
    repairs: Mapping[int, int] = field(default_factory=dict)
    """SSRC of retransmissions -> the SSRC they repair, as far as signalled."""
    rids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """A slot: all we may send in a section, under the peer's payload types and extension ids, on our `ssrc`."""

    codecs: tuple[Codec, ...]
    extensions: Mapping[str, int]
    ssrc: int
    stream: str
    track: str
    rtx: Mapping[int, int] = field(default_factory=dict)
    """Payload type -> the payload type of its retransmissions."""
    rtx_ssrc: int | None = None
    """The SSRC of retransmissions; None when the viewer takes none."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """One section of our answer; `direction` is ours; `rejected` says why it has port 0, or is None.

    `rtx` maps payload types to those of their retransmissions.
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
        """Whether we may have to send lost video again under its own numbers: for some codec there is no RTX."""
        sends = [section.send for section in self.sections if section.send and section.kind == "video"]
        return any(codec.payload_type not in send.rtx for send in sends for codec in send.codecs)


@dataclass(frozen=True, slots=True)
class Local:
    """Our own side of the transport. `fingerprint` is the SHA-256 value ("AA:BB:..."); `candidates` are written as
    they are after "a=candidate:" (a leading "candidate:" is fine too)."""

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
