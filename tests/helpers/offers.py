"""Offers of real and typical peers, and our own side of an answer to them."""

from pathlib import Path

from sfu.rtc.sdp.description import Local, Negotiated
from sfu.rtc.sdp.negotiate import Role, negotiate
from sfu.rtc.sdp.parse import parse_description
from sfu.rtc.sdp.write import write_answer

VECTORS = Path(__file__).parents[1] / "vectors" / "sdp"
NAMES = sorted(path.stem for path in VECTORS.glob("*.sdp"))
PREFERENCE = ("h264", "vp8", "vp9", "av1")
LOCAL = Local(
    ufrag="serverufrag",
    pwd="p" * 24,
    fingerprint=":".join(["AB"] * 32),
    candidates=tuple(f"{n} 1 udp 2130706431 192.0.2.{n} 50000 typ host" for n in range(1, 5)),
    lite=True,
)


def offer(name: str) -> str:
    return (VECTORS / f"{name}.sdp").read_bytes().decode()


def negotiated(text: str, role: Role, preference: tuple[str, ...] = PREFERENCE) -> Negotiated:
    return negotiate(parse_description(text), role, preference=preference, ssrc=lambda mid: 1000 + sum(mid.encode()))


def answer(text: str, role: Role, preference: tuple[str, ...] = PREFERENCE) -> str:
    return write_answer(negotiated(text, role, preference), LOCAL, session_id=7, version=1)
