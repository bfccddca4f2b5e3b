"""Key frames: `starts_key_frame` is right about each packet of really encoded video, and answers about any bytes."""

from __future__ import annotations

import av
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfu.media.formats.key_frame_detection import starts_key_frame
from tests.helpers.encodings import AV1, VP8, VP9, X264, X264_SLICES, X265_CLOSED, X265_OPEN
from tests.helpers.rtp_payloads import (
    FRAMES,
    KEY_FRAME_EVERY,
    aggregate,
    encode,
    pack,
    pack_av1,
    pack_units,
    pack_vp9,
    units,
)


def frames(encoder: tuple[str, tuple[tuple[str, str], ...]]) -> list[av.Packet[av.VideoStream]]:
    packets = encode(*encoder)
    assert len(packets) == FRAMES
    assert sum(packet.is_keyframe for packet in packets) == -(-FRAMES // KEY_FRAME_EVERY)
    return packets


def marks(codec: str, payloads: list[bytes]) -> list[bool]:
    return [starts_key_frame(codec, payload) for payload in payloads]


def only_first(payloads: list[bytes], *, key: bool) -> list[bool]:
    return [key] + [False] * (len(payloads) - 1)


@pytest.mark.parametrize("codec", ["H264", "H265", "VP8", "VP9", "AV1"])
@given(payload=st.binary(max_size=40))
@example(payload=b"")
def test_any_bytes_give_a_bool(codec: str, payload: bytes) -> None:
    assert starts_key_frame(codec, payload) in (True, False)


@pytest.mark.parametrize(
    ("codec", "first"),
    [("H264", 24), ("H264", 28), ("H265", 48 << 1), ("H265", 49 << 1), ("VP8", 0x90), ("VP9", 0xA8), ("AV1", 0x00)],
)
@given(rest=st.binary(max_size=12))
def test_any_bytes_after_a_meaningful_first_one_give_a_bool(codec: str, first: int, rest: bytes) -> None:
    assert starts_key_frame(codec, bytes((first,)) + rest) in (True, False)


@pytest.mark.parametrize("codec", ["opus", "PCMU", "PCMA", "G722"])
def test_audio_can_start_anywhere(codec: str) -> None:
    assert starts_key_frame(codec, b"\x01")


def test_vp8_of_libvpx_starts_where_its_key_frames_start() -> None:
    for packet in frames(VP8):
        payloads = pack("video/VP8", packet)
        assert marks("VP8", payloads) == only_first(payloads, key=packet.is_keyframe)


def test_vp8_starts_behind_every_form_of_descriptor() -> None:
    key = bytes(next(packet for packet in frames(VP8) if packet.is_keyframe))
    for descriptor in ("10", "90 80 11", "90 80 9111", "90 40 05", "90 20 05", "90 10 05", "90 e0 9111 05 05"):
        assert starts_key_frame("VP8", bytes.fromhex(descriptor) + key)
    for elsewhere in ("00", "11", "90 80 91"):  # no start, another partition, cut short
        assert not starts_key_frame("VP8", bytes.fromhex(elsewhere) + key[:1])


@pytest.mark.parametrize("picture_id", [b"\x07", b"\x80\x07"])
def test_vp9_of_libvpx_starts_where_its_key_frames_start(picture_id: bytes) -> None:
    for packet in frames(VP9):
        payloads = pack_vp9(bytes(packet), key=packet.is_keyframe, picture_id=picture_id)
        assert marks("VP9", payloads) == only_first(payloads, key=packet.is_keyframe)


def test_vp9_starts_with_the_lowest_spatial_layer_alone() -> None:
    """Upper layers of a key picture are predicted from below, not from before: P is 0 in them too."""
    layered = [bytes((0xA8, 0x80, 0x07, layer << 1, 0x00)) + b"frame" for layer in range(3)]
    assert marks("VP9", layered) == [True, False, False]


@pytest.mark.parametrize("counted", [True, False])
def test_av1_of_svt_starts_where_its_key_frames_start(counted: bool) -> None:
    for packet in frames(AV1):
        payloads = pack_av1(bytes(packet), key=packet.is_keyframe, counted=counted)
        assert marks("AV1", payloads) == only_first(payloads, key=packet.is_keyframe)


@pytest.mark.parametrize("counted", [True, False])
def test_av1_without_the_n_bit_starts_at_a_sequence_header(counted: bool) -> None:
    for packet in frames(AV1):
        payloads = pack_av1(bytes(packet), key=False, counted=counted)
        assert marks("AV1", payloads) == only_first(payloads, key=packet.is_keyframe)


def test_av1_sequence_header_may_follow_a_temporal_delimiter() -> None:
    assert starts_key_frame("AV1", bytes.fromhex("20 01 10 08 00 00"))
    assert starts_key_frame("AV1", bytes.fromhex("00 01 10 02 08 00"))
    assert not starts_key_frame("AV1", bytes.fromhex("80 01 10 02 08 00"))


@pytest.mark.parametrize("encoder", [X264, X264_SLICES])
def test_h264_aggregated_starts_at_parameter_sets_and_first_slice(
    encoder: tuple[str, tuple[tuple[str, str], ...]],
) -> None:
    for packet in frames(encoder):
        payloads = pack("video/H264", packet)
        found = marks("H264", payloads)
        starts = found.count(True)
        assert starts == (2 if packet.is_keyframe else 0)  # STAP-A of the sets, FU-A of the first slice
        assert found == [True] * starts + [False] * (len(found) - starts)


@pytest.mark.parametrize(
    ("codec", "encoder"), [("H264", X264), ("H264", X264_SLICES), ("H265", X265_CLOSED), ("H265", X265_OPEN)]
)
def test_nal_units_in_packets_of_their_own_start_at_parameter_sets_and_first_slice(
    codec: str, encoder: tuple[str, tuple[tuple[str, str], ...]]
) -> None:
    header, sets, last_slice = (1, {7}, 5) if codec == "H264" else (2, {32, 33}, 31)
    for packet in frames(encoder):
        for unit, payloads in zip(units(bytes(packet)), pack_units(bytes(packet), header=header), strict=True):
            kind = unit[0] & 0x1F if codec == "H264" else unit[0] >> 1 & 0x3F
            first_slice = kind <= last_slice and unit[header] >= 0x80
            key = kind in sets or (packet.is_keyframe and first_slice)
            assert marks(codec, payloads) == only_first(payloads, key=key)


def test_h265_aggregated_starts_with_its_parameter_sets() -> None:
    key, *others = [units(bytes(packet)) for packet in frames(X265_CLOSED)]
    sets = [unit for unit in key if unit[0] >> 1 & 0x3F in (32, 33, 34)]
    assert starts_key_frame("H265", aggregate(b"\x60\x01", sets))
    assert not starts_key_frame("H265", aggregate(b"\x60\x01", sets[2:]))
    assert not starts_key_frame("H265", aggregate(b"\x60\x01", [others[0][-1][:500]]))


def test_a_later_slice_of_an_idr_picture_is_no_start() -> None:
    assert starts_key_frame("H264", b"\x65\x88")
    assert not starts_key_frame("H264", b"\x65\x48")
    assert not starts_key_frame("H264", b"\x7c\x05\x88")  # FU-A, not its start
    assert not starts_key_frame("H264", aggregate(b"\x18", [b"\x68\x88", b"\x61\x88"]))
    assert starts_key_frame("H264", aggregate(b"\x18", [b"\x09\x10", b"\x65\x88"]))
