"""How players turn the pictures of a recorded file, as its header says.

Owns finding that in the headers of MP4 and WebM, so that files that stand otherwise are not joined. Pure.
"""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 4096
"""The track headers of recorded files lie within these bytes."""
_MATRIX_OFFSETS: Final = (40, 52)
_MATRIX_BYTES: Final = 36
_TURN_BYTES: Final = 20
"""The part of a matrix that does not depend on the size of the pictures."""
_UPRIGHT: Final = bytes.fromhex("0001000000000000000000000000000000010000")
_POSES: Final = (b"\x76\x73", b"\x76\x74", b"\x76\x75")
"""ProjectionPoseYaw, Pitch and Roll (RFC 9559)."""


def turn_in(head: bytes, suffix: str) -> bytes:
    """Returns bytes that are equal for two files whose pictures are turned alike; b"" for upright ones.

    `head`: the first bytes of a file with this suffix.
    """
    turn = _in_mp4(head) if suffix == ".mp4" else _in_webm(head)
    return b"" if turn == _UPRIGHT else turn


def _in_mp4(head: bytes) -> bytes:
    """Returns the turn of the first track that has a width: sound has none."""
    at = head.find(b"tkhd") + 4
    while at >= 4:
        version = head[at : at + 1]
        matrix_at = at + _MATRIX_OFFSETS[version != b"\0"]
        after = matrix_at + _MATRIX_BYTES
        if any(head[after : after + 4]):
            return head[matrix_at : matrix_at + _TURN_BYTES]
        at = head.find(b"tkhd", at) + 4
    return b""


def _in_webm(head: bytes) -> bytes:
    """Returns the values of the projection that are written: FFmpeg leaves out a projection that turns nothing."""
    head = head.partition(b"\x1f\x43\xb6\x75")[0]  # the first cluster
    found = b""
    for name in _POSES:
        _, written, after = head.partition(name)
        if written and after[:1] in (b"\x84", b"\x88"):
            found += after[: 1 + (after[0] & 0x0F)]
    return found
