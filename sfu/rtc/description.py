"""Session descriptions as values: what a peer's SDP says, what was agreed, what our own SDP has to say.

Owns the shapes that `sdp` reads and writes and `negotiation` decides about. Never parses and never decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sfu.rtc.codec import Codec

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup = Literal["actpass", "active", "passive"]

# The header extensions that are carried from producer to viewer (RFC 8843, 3GPP TS 26.114, RFC 6464, abs-send-time).
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
VIDEO_ORIENTATION = "urn:3gpp:video-orientation"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
EXTENSIONS = (MID, VIDEO_ORIENTATION, AUDIO_LEVEL, ABS_SEND_TIME)

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
    peer's order, without repair formats. `extensions` map URI to id. `stream` and `track` are the msid's two halves.
    `rejected`: port 0 and not bundle-only.
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
    extensions: Mapping[str, int]
    ssrcs: tuple[int, ...]
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
    """What a peer may send us in a section: `codecs[0]` is what it is asked to send."""

    codecs: tuple[Codec, ...]
    extensions: Mapping[str, int]
    ssrcs: tuple[int, ...]
    stream: str | None
    track: str | None


@dataclass(frozen=True, slots=True)
class Send:
    """A slot: all we may send in a section, under the peer's payload types and extension ids, on our `ssrc`."""

    codecs: tuple[Codec, ...]
    extensions: Mapping[str, int]
    ssrc: int
    stream: str
    track: str


@dataclass(frozen=True, slots=True)
class Agreed:
    """One section of our answer; `direction` is ours; `rejected` says why it has port 0, or is None."""

    index: int
    mid: str
    named: bool
    kind: str
    protocol: str
    formats: tuple[str, ...]
    direction: Direction
    codecs: tuple[Codec, ...] = ()
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
    """One section of an offer of our own client peers. `ssrc`, `stream` and `track` are for sections that send."""

    mid: str
    kind: Literal["audio", "video"]
    direction: Direction
    codecs: tuple[Codec, ...]
    extensions: Mapping[str, int] = field(default_factory=dict)
    ssrc: int | None = None
    stream: str | None = None
    track: str | None = None
    cname: str = CNAME
