"""RTP and RTCP packets, and Hypothesis strategies for them."""

from __future__ import annotations

from aiortc import rtp as aiortc_rtp
from hypothesis import strategies as st

from sfu.media.formats import rtcp, rtp

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFF_FFFF)
ONE_BYTE = st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=6)
TWO_BYTE = st.dictionaries(st.integers(1, 255), st.binary(max_size=255), max_size=6)
PACKETS = st.builds(
    rtp.Packet,
    marker=st.booleans(),
    payload_type=st.integers(0, 127),
    sequence=U16,
    media_time=U32,
    ssrc=U32,
    payload=st.binary(max_size=64),
    extensions=st.one_of(ONE_BYTE, TWO_BYTE),
)
PLI = rtcp.pli(1, 2)


def packet(**changes: object) -> rtp.Packet:
    """Returns a small packet with these fields changed."""
    values: dict[str, object] = {
        "marker": False,
        "payload_type": 96,
        "sequence": 1,
        "media_time": 2,
        "ssrc": 3,
        "payload": b"abc",
    }
    return rtp.Packet(**(values | changes))  # type: ignore[arg-type]


def rtcp_packet(kind: int, count: int, body: bytes) -> bytes:
    """Returns an RTCP packet as aiortc frames it."""
    return aiortc_rtp.pack_rtcp_packet(kind, count, body)
