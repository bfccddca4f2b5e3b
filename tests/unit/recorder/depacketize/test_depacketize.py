"""Really encoded media through RTP payloads and back: the same bytes come out, a hole costs what it must, no more."""

from __future__ import annotations

import base64
import itertools
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.depacketize import DepacketizeDrop, Depacketizer
from recorder.depacketize.units import CodecParameters, Unit
from sfu.clients import packetize
from sfu.media.formats.rtp import Packet
from tests.helpers.encodings import (
    AUDIO,
    AV1,
    DECODERS,
    ENCODINGS,
    VIDEO,
    VP8,
    VP9,
    X264,
    X265_CLOSED,
    Encoding,
    codec,
    flat,
    packets,
)
from tests.helpers.media import decoded
from tests.helpers.programs import need
from tests.helpers.rtp_payloads import FRAMES, encode, encode_grey, pack, pack_units, units


def pushed(depacketizer: Depacketizer, sent: Sequence[Packet]) -> list[Unit]:
    return [unit for packet in sent for unit in depacketizer.push(packet)] + depacketizer.flush()


each_encoding = pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)


@each_encoding
def test_every_unit_comes_back_as_it_was(encoding: Encoding) -> None:
    depacketizer = Depacketizer(codec(encoding.codec))
    found = pushed(depacketizer, encoding.packets())
    assert [(unit.data, unit.key) for unit in found] == [
        (encoding.expected(data), key) for data, key in encoding.frames()
    ]
    assert [unit.media_time for unit in found] == [3600 * number for number in range(FRAMES)]
    assert not any(unit.lost for unit in found)
    assert set(depacketizer.drops.values()) == {0}


@each_encoding
def test_a_strict_decoder_takes_every_unit(encoding: Encoding) -> None:
    found = pushed(Depacketizer(codec(encoding.codec)), encoding.packets())
    assert decoded(DECODERS[encoding.codec], [unit.data for unit in found]) == [(320, 192)] * FRAMES


@each_encoding
def test_parameters_stand_on_each_key_unit_and_nowhere_else(encoding: Encoding) -> None:
    found = pushed(Depacketizer(codec(encoding.codec)), encoding.packets())
    parameters = found[0].parameters
    assert parameters is not None
    assert (parameters.codec, parameters.clock_rate) == (encoding.codec, 90000)
    assert (parameters.width, parameters.height) == (320, 192)
    assert all(unit.parameters is (parameters if unit.key else None) for unit in found)


def decodable(found: Sequence[Unit]) -> list[Unit]:
    """Returns the units that a recording keeps: after a loss none until the next key frame."""
    kept, waiting = [], True
    for unit in found:
        waiting = (waiting or unit.lost) and not unit.key
        if not waiting:
            kept.append(unit)
    return kept


@each_encoding
def test_a_hole_anywhere_costs_its_unit_and_what_needs_it(encoding: Encoding) -> None:
    sent = encoding.packets()
    whole = [(encoding.expected(data), key) for data, key in encoding.frames()]
    keys = [number for number, (_, key) in enumerate(whole) if key]
    for missing in range(0, len(sent), 3):
        depacketizer = Depacketizer(codec(encoding.codec))
        found = decodable(pushed(depacketizer, sent[:missing] + sent[missing + 1 :]))
        torn = sent[missing].media_time // 3600
        numbers = [unit.media_time // 3600 for unit in found]
        resumed = next((key for key in keys if key > torn), FRAMES)
        ours = [number for number in range(FRAMES) if number < torn or number >= resumed]
        assert numbers in (ours, [*range(FRAMES)])  # a missing parameter set or trailing SEI need not cost a picture
        assert [(unit.data, unit.key) for unit in found] == [whole[number] for number in numbers]


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        *itertools.product(["H264", "H265", "VP9", "AV1"], [None, True, False]),
        ("VP8", None),
        ("VP8", False),  # its packets say nothing about the end of a frame
    ],
)
def test_half_of_the_packets_missing_never_gives_a_broken_picture(name: str, marked: bool | None) -> None:
    encoding = next(encoding for encoding in ENCODINGS.values() if encoding.codec == name)
    whole = {encoding.expected(data) for data, _ in encoding.frames()}
    sent = encoding.packets()
    for packet in sent:
        packet.marker = packet.marker if marked is None else marked
    for step in (2, 3, 5, 17):
        kept = [packet for packet in sent if packet.index % step]
        assert {unit.data for unit in pushed(Depacketizer(codec(name)), kept)} <= whole


def test_the_hole_is_told_by_the_next_unit() -> None:
    encoding = ENCODINGS["vp8"]
    sent = encoding.packets()
    torn = next(packet for packet in sent if packet.media_time == 3600 and not packet.marker)
    depacketizer = Depacketizer(codec("VP8"))
    found = pushed(depacketizer, [packet for packet in sent if packet is not torn])
    assert [unit.media_time for unit in found if unit.lost] == [2 * 3600]
    assert depacketizer.drops[DepacketizeDrop.TORN] == 1


def test_whole_units_that_are_missing_are_told_too() -> None:
    sent = [packet for packet in ENCODINGS["vp8"].packets() if not 3600 <= packet.media_time < 4 * 3600]
    found = pushed(Depacketizer(codec("VP8")), sent)
    # nothing tells that the first packet after a hole begins its frame, unless a key frame begins there
    assert [unit.media_time // 3600 for unit in found] == [0, *range(5, FRAMES)]
    assert [unit.media_time // 3600 for unit in found if unit.lost] == [5]


@each_encoding
def test_units_end_without_a_marker_too(encoding: Encoding) -> None:
    sent = encoding.packets()
    for packet in sent:
        packet.marker = False
    found = pushed(Depacketizer(codec(encoding.codec)), sent)
    assert [unit.data for unit in found] == [encoding.expected(data) for data, _ in encoding.frames()]


@each_encoding
def test_an_orientation_holds_from_its_picture_on_until_another_one_comes(encoding: Encoding) -> None:
    depacketizer = Depacketizer(codec(encoding.codec))
    said = {0: 1, 12: 6, 20: 0}
    found = []
    for packet in encoding.packets():
        frame = packet.media_time // 3600
        found += depacketizer.push(packet, said.get(frame) if packet.marker else None)
    found += depacketizer.flush()
    assert [unit.orientation for unit in found] == [1] * 12 + [6] * 8 + [0] * 5
    keys = [unit.parameters for unit in found if unit.parameters is not None]
    assert [parameters.orientation for parameters in keys] == [found[10 * at].orientation for at in range(3)]


@each_encoding
def test_a_marker_on_each_packet_ends_no_unit(encoding: Encoding) -> None:
    sent = encoding.packets()
    for packet in sent:
        packet.marker = True
    depacketizer = Depacketizer(codec(encoding.codec))
    found = pushed(depacketizer, sent)
    assert [(unit.data, unit.key) for unit in found] == [
        (encoding.expected(data), key) for data, key in encoding.frames()
    ]
    assert set(depacketizer.drops.values()) == {0}


@pytest.mark.parametrize("name", ["h264 single units", "h264 stap-a and fu-a", "h265", "vp8", "vp9"])
def test_pictures_of_the_same_media_time_stay_apart(name: str) -> None:
    encoding = ENCODINGS[name]
    sent = encoding.packets()
    for packet in sent:
        packet.media_time = packet.media_time // 7200 * 7200
    found = pushed(Depacketizer(codec(encoding.codec)), sent)
    assert [unit.data for unit in found] == [encoding.expected(data) for data, _ in encoding.frames()]


def test_a_hole_after_a_marker_costs_the_unit_of_an_encoder_that_sets_it_on_each_packet() -> None:
    encoding = ENCODINGS["h264 single units"]
    sent = encoding.packets()
    for packet in sent:
        packet.marker = True
    torn = [packet for packet in sent if packet.media_time == 2 * 3600][1]
    depacketizer = Depacketizer(codec("H264"))
    found = decodable(pushed(depacketizer, [packet for packet in sent if packet is not torn]))
    assert [unit.media_time // 3600 for unit in found] == [0, 1, *range(10, FRAMES)]
    assert depacketizer.drops[DepacketizeDrop.TORN] == 2


def test_a_unit_whose_end_is_missing_is_not_flushed() -> None:
    sent = ENCODINGS["vp8"].packets()
    depacketizer = Depacketizer(codec("VP8"))
    found = pushed(depacketizer, sent[:-1])
    assert len(found) == FRAMES - 1
    assert depacketizer.drops[DepacketizeDrop.TORN] == 1


@each_encoding
def test_late_and_repeated_packets_and_padding_change_nothing(encoding: Encoding) -> None:
    depacketizer = Depacketizer(codec(encoding.codec))
    sent = []
    for packet in encoding.packets():
        packet.index *= 2
        probe = Packet(False, 96, 0, packet.media_time, 1, b"", index=packet.index + 1)
        sent += [packet, packet, probe]
    found = pushed(depacketizer, sent)
    assert [unit.data for unit in found] == [encoding.expected(data) for data, _ in encoding.frames()]
    assert depacketizer.drops[DepacketizeDrop.LATE] == len(sent) // 3


H26X = {"H264": (X264, 1, (7, 8)), "H265": (X265_CLOSED, 2, (32, 33, 34))}


def _kind(unit: bytes, header: int) -> int:
    return unit[0] & 0x1F if header == 1 else unit[0] >> 1 & 0x3F


@pytest.mark.parametrize("name", H26X)
def test_parameter_sets_of_the_first_key_frame_go_before_all_others(name: str) -> None:
    encoder, header, sets = H26X[name]
    groups = []
    for number, packet in enumerate(encode(*encoder)):
        own = [unit for unit in units(bytes(packet)) if number == 0 or _kind(unit, header) not in sets]
        groups.append(flat(pack_units(packetize.byte_stream(own), header=header)))
    found = pushed(Depacketizer(codec(name)), packets(groups))
    keys = [[_kind(unit, header) for unit in units(unit.data)] for unit in found if unit.key]
    assert len(keys) == 3
    assert all(tuple(kind for kind in kinds if kind in sets) == sets for kinds in keys)
    assert decoded(DECODERS[name], [unit.data for unit in found[20:]]) == [(320, 192)] * 5


@pytest.mark.parametrize("name", H26X)
def test_parameter_sets_may_come_with_the_description_alone(name: str) -> None:
    encoder, header, sets = H26X[name]
    found: dict[int, bytes] = {}
    groups: list[list[bytes]] = []
    for packet in encode(*encoder):
        own = units(bytes(packet))
        found |= {_kind(unit, header): unit for unit in own if _kind(unit, header) in sets}
        own = [unit for unit in own if _kind(unit, header) not in sets]
        groups.append(flat(pack_units(packetize.byte_stream(own), header=header)))
    coded = [base64.b64encode(found[kind]).decode() for kind in sets]
    if name == "H264":
        described = codec(name, sprop_parameter_sets=",".join(coded))
    else:
        described = codec(name, sprop_vps=coded[0], sprop_sps=coded[1], sprop_pps=coded[2])
    seen = pushed(Depacketizer(described), packets(groups))
    assert decoded(DECODERS[name], [unit.data for unit in seen]) == [(320, 192)] * FRAMES
    assert not pushed(Depacketizer(codec(name)), packets(groups[:1]))


def test_parameter_sets_in_a_unit_of_their_own_are_no_loss() -> None:
    own = units(bytes(encode(*X264)[0]))
    sets = [unit for unit in own if unit[0] & 0x1F in (7, 8)]
    rest = flat(pack_units(packetize.byte_stream([unit for unit in own if unit not in sets]), header=1))
    depacketizer = Depacketizer(codec("H264"))
    (unit,) = pushed(depacketizer, packets([[sets[0]], [sets[1]], rest]))
    assert unit.key
    assert not unit.lost
    assert decoded("h264", [unit.data]) == [(320, 192)]


def test_a_key_frame_whose_parameter_sets_fell_into_a_hole_is_not_given_old_ones() -> None:
    small, large = (encode_grey("libx264", size)[0] for size in ((320, 192), (640, 480)))
    groups = [packetize.h264_payloads(small), packetize.h264_payloads(large)]
    sent = packets(groups)
    sets = len(groups[0])
    assert groups[1][0][0] & 0x1F == 24
    assert len(pushed(Depacketizer(codec("H264")), sent)) == 2
    assert len(pushed(Depacketizer(codec("H264")), sent[:sets] + sent[sets + 1 :])) == 1


def test_a_key_frame_is_given_the_parameter_sets_that_it_names() -> None:
    small, large = (
        units(encode_grey("libx264", size, {"x264-params": f"sps-id={number}"})[0])
        for number, size in enumerate([(320, 192), (640, 480)])
    )
    later = [unit for unit in small if unit[0] & 0x1F == 5]
    groups = [packetize.h264_payloads(packetize.byte_stream(each)) for each in (small, large, later)]
    found = pushed(Depacketizer(codec("H264")), packets(groups))
    sizes = [(unit.parameters.width, unit.parameters.height) for unit in found if unit.parameters is not None]
    assert sizes == [(320, 192), (640, 480), (320, 192)]
    depacketizer = Depacketizer(codec("H264"))
    depacketizer.learn([unit for unit in (*small, *large) if unit[0] & 0x1F in (7, 8)])
    (unit,) = pushed(depacketizer, packets(groups[2:]))
    assert unit.parameters is not None
    assert (unit.parameters.width, unit.parameters.height) == (320, 192) == decoded("h264", [unit.data])[0]


SIZES = [(320, 192), (322, 178), (1920, 1080), (64, 64), (1278, 718)]
ENCODERS = {"H264": X264, "H265": X265_CLOSED, "VP8": VP8, "VP9": VP9, "AV1": AV1}


@pytest.mark.parametrize("name", VIDEO)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_size_is_read_from_the_stream(name: str, size: tuple[int, int]) -> None:
    encoder, options = ENCODERS[name]
    first = encode_grey(encoder, size, dict(options))[0]
    encoding = next(encoding for encoding in ENCODINGS.values() if encoding.codec == name)
    (unit,) = pushed(Depacketizer(codec(name)), packets([encoding.payloads(first, True)]))
    assert unit.parameters is not None
    assert (unit.parameters.width, unit.parameters.height) == size == decoded(DECODERS[name], [unit.data])[0]


@pytest.mark.parametrize(
    "options", ["interlaced=1", "cqm=jvt", "slices=2:ref=4", "nal-hrd=cbr:vbv-maxrate=500:vbv-bufsize=500:bitrate=500"]
)
@pytest.mark.parametrize("profile", ["main", "high"])
def test_sizes_of_less_usual_h264(options: str, profile: str) -> None:
    made = {"x264-params": options, "profile": "high" if "cqm" in options else profile}
    first = encode_grey("libx264", (322, 180), made)[0]
    (unit,) = pushed(Depacketizer(codec("H264")), packets([packetize.h264_payloads(first)]))
    assert unit.parameters is not None
    assert (unit.parameters.width, unit.parameters.height) == (322, 180)


@pytest.mark.parametrize("name", VIDEO)
def test_another_size_makes_other_parameters(name: str) -> None:
    encoder, options = ENCODERS[name]
    encoding = next(encoding for encoding in ENCODINGS.values() if encoding.codec == name)
    firsts = [encode_grey(encoder, size, dict(options))[0] for size in [(320, 192), (320, 192), (640, 360)]]
    found = pushed(Depacketizer(codec(name)), packets([encoding.payloads(first, True) for first in firsts]))
    assert found[0].parameters is found[1].parameters
    assert found[1].parameters != found[2].parameters


def test_vp9_says_its_pixel_format() -> None:
    (unit,) = pushed(Depacketizer(codec("VP9")), packets([packetize.vp9_payloads(bytes(encode(*VP9)[0]))]))
    assert unit.parameters == CodecParameters("VP9", 90000, 320, 192, pixel_format="yuv420p")


def test_only_the_lowest_spatial_layer_of_vp9_is_kept() -> None:
    frame = bytes(encode(*VP9)[0])
    low = [bytes((payload[0] | 0x20, 0x00, 0x01)) + payload[1:] for payload in packetize.vp9_payloads(frame)]
    high = [bytes((payload[0] | 0x60, 0x02, 0x01)) + payload[1:] for payload in packetize.vp9_payloads(frame)]
    (unit,) = pushed(Depacketizer(codec("VP9")), packets([low + high]))
    assert unit.data == frame


def test_vp9_descriptors_with_every_field_are_taken_off() -> None:
    frame = bytes(encode(*VP9)[0])
    structure = bytes((0b001_1_1_000,)) + b"\x01\x40\x00\xc0" * 2 + b"\x02" + b"\x08\x01\x04\x01"[:4]
    descriptor = bytes((0b1010_1110, 0x81, 0x23, 0x00, 0x05)) + structure
    (unit,) = pushed(Depacketizer(codec("VP9")), packets([[descriptor + frame]]))
    assert unit.data == frame


def test_vp8_descriptors_with_every_field_are_taken_off() -> None:
    frame = bytes(encode(*VP8)[0])
    (unit,) = pushed(Depacketizer(codec("VP8")), packets([[b"\x90\xf0\x81\x23\x45\x67" + frame]]))
    assert unit.data == frame


@pytest.mark.parametrize("name", ["H264", "H265"])
def test_ffmpeg_decodes_what_comes_out(name: str) -> None:
    need("ffmpeg")
    encoder, header, _ = H26X[name]
    sent = packets([flat(pack_units(bytes(packet), header=header)) for packet in encode(*encoder)])
    stream = b"".join(unit.data for unit in pushed(Depacketizer(codec(name)), sent))
    command = ["ffmpeg", "-v", "error", "-xerror", "-f", DECODERS[name], "-i", "-", "-f", "framecrc", "-"]
    run = subprocess.run(command, input=stream, capture_output=True, check=True, timeout=60)
    assert not run.stderr
    assert len([line for line in run.stdout.splitlines() if not line.startswith(b"#")]) == FRAMES


def _fragment(name: str) -> bytes:
    """A fragment in the middle of a unit that began."""
    return {
        "H264": b"\x7c\x05",
        "H265": b"\x62\x01\x13",
        "VP8": b"\x00",
        "VP9": b"\x00",
        "AV1": b"\xd0",
    }[name] + bytes(60000)


@pytest.mark.parametrize("name", VIDEO)
def test_a_unit_beyond_bounds_is_dropped(name: str) -> None:
    start = next(encoding for encoding in ENCODINGS.values() if encoding.codec == name).packets()[0]
    starts = {"H264": b"\x7c\x85\x80", "H265": b"\x62\x01\x93\x80", "AV1": b"\x58\x0a"}
    start.payload = starts.get(name, start.payload)
    start.marker = False
    depacketizer = Depacketizer(codec(name))
    depacketizer.push(start)
    for number in range(1, 80):
        assert depacketizer.drops[DepacketizeDrop.BROKEN] == (number > 70)
        depacketizer.push(Packet(number == 79, 96, number, 0, 1, _fragment(name), index=start.index + number))
    assert depacketizer.drops[DepacketizeDrop.BROKEN] == 1


_PAYLOADS = st.binary(max_size=30) | st.builds(
    lambda first, rest: bytes(first) + rest,
    st.sampled_from(
        [
            [0x78],  # STAP-A
            [0x7C, 0x85],  # FU-A, first, IDR
            [0x7C, 0x45],  # FU-A, last
            [0x67, 0x42, 0xE0, 0x1F],  # SPS of H.264
            [0x68, 0xCE],
            [0x65, 0x88],
            [0x60, 0x01],  # AP
            [0x62, 0x01, 0x93],  # FU
            [0x42, 0x01],  # SPS of H.265
            [0x10, 0x00, 0x00, 0x00, 0x9D, 0x01, 0x2A],  # VP8 key frame
            [0x90, 0xF0],
            [0x0C, 0x82, 0x49, 0x83, 0x42],  # VP9 key frame
            [0xFF],
            [0x18, 0x0A],  # AV1, sequence header
            [0xD0],
        ]
    ),
    st.binary(max_size=30),
)


@pytest.mark.parametrize("name", [*VIDEO, *AUDIO])
@settings(max_examples=100)
@given(
    sent=st.lists(
        st.tuples(_PAYLOADS, st.booleans(), st.integers(-1, 2), st.integers(0, 1)),
        max_size=20,
    )
)
def test_any_packets_give_whole_answers(name: str, sent: list[tuple[bytes, bool, int, int]]) -> None:
    depacketizer = Depacketizer(codec(name))
    index = media_time = 0
    for payload, marker, step, later in sent:
        index += step
        media_time += later * 3000
        for unit in depacketizer.push(Packet(marker, 96, index & 0xFFFF, media_time, 1, payload, index=index)):
            assert unit.data
            assert (unit.parameters is not None) == unit.key
            if unit.parameters is not None and unit.parameters.kind == "video":
                assert 0 < unit.parameters.width <= 16384
                assert 0 < unit.parameters.height <= 16384


@pytest.mark.parametrize("name", VIDEO)
@settings(max_examples=100)
@given(data=st.data())
def test_flipped_bytes_of_real_packets_never_raise(name: str, data: st.DataObject) -> None:
    encoding = next(encoding for encoding in ENCODINGS.values() if encoding.codec == name)
    sent = encoding.packets()[:40]
    depacketizer = Depacketizer(codec(name))
    for packet in sent:
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, min(len(packet.payload), 40) - 1))
            changed = bytearray(packet.payload)
            changed[at] ^= data.draw(st.integers(1, 255))
            packet.payload = bytes(changed)
        depacketizer.push(packet)


@pytest.mark.parametrize("mime", ["H264", "VP8"])
def test_what_aiortc_packs_comes_back(mime: str) -> None:
    encoding = ENCODINGS["h264 stap-a and fu-a" if mime == "H264" else "vp8"]
    groups = [pack(f"video/{mime}", packet) for packet in encode(*encoding.encoder)]
    found = pushed(Depacketizer(codec(mime)), packets(groups))
    assert decoded(DECODERS[mime], [unit.data for unit in found]) == [(320, 192)] * FRAMES
