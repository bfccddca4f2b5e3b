"""Where decoders can start: parameter sets that were said once, and the reasons why nobody can."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest

from sfu.media.formats.nal_units import FAMILIES
from sfu.media.formats.rtp import Packet
from sfu.media.ingest.starts import Problem, Starts
from sfu.rtc.sdp.codec import Codec
from tests.helpers.encodings import X264, X265_LIVE, codec
from tests.helpers.rtp_payloads import encode, encode_grey, pack_units, units

NAMES = ("H264", "H265")
ENCODERS = {"H264": X264, "H265": X265_LIVE}


def first_units(name: str) -> tuple[list[bytes], list[bytes]]:
    """The parameter sets of a first key frame, and the payloads of its picture."""
    family = FAMILIES[name]
    frame = units(bytes(encode(*ENCODERS[name])[0]))
    sets = [unit for unit in frame if family.kind(unit[0]) in family.sets]
    pictures = [unit for unit in frame if family.kind(unit[0]) in family.key_pictures]
    stream = b"".join(b"\0\0\0\1" + unit for unit in pictures)
    return sets, [payload for unit in pack_units(stream, header=family.header) for payload in unit]


def key_packet(payload: bytes) -> Packet:
    return Packet(False, 96, 1000, 9000, 7, payload, index=(2 << 16) + 1000)


def told(starts: Starts, payloads: Sequence[bytes]) -> Starts:
    for payload in payloads:
        if found := starts.test(payload):
            starts.note(payload, found)
    return starts


@pytest.mark.parametrize("name", NAMES)
def test_a_key_frame_without_parameter_sets_gets_those_that_were_said_before(name: str) -> None:
    sets, picture = first_units(name)
    starts = told(Starts(codec(name, packetization_mode="1")), sets)
    key = key_packet(picture[0])
    (lead,) = starts.lead(key)
    assert FAMILIES[name].units(lead.payload) == sets
    assert (lead.index, lead.sequence, lead.media_time, lead.marker) == (key.index - 1, 999, 9000, False)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_frame_with_parameter_sets_gets_no_others(name: str) -> None:
    sets, picture = first_units(name)
    starts = told(Starts(codec(name, packetization_mode="1")), sets)
    assert starts.lead(key_packet(sets[0])) == []
    (together,) = FAMILIES[name].aggregate_of([*sets, picture[-1][:600]])
    assert starts.lead(key_packet(together)) == []


@pytest.mark.parametrize("name", NAMES)
def test_parameter_sets_of_the_offer_serve_a_camera_that_never_says_them(name: str) -> None:
    sets, picture = first_units(name)
    texts = [base64.b64encode(unit).decode() for unit in sets]
    names = FAMILIES[name].out_of_band
    values = {names[0]: ",".join(texts)} if len(names) == 1 else dict(zip(names, texts, strict=True))
    starts = Starts(codec(name, packetization_mode="1", **values))
    (lead,) = starts.lead(key_packet(picture[0]))
    assert FAMILIES[name].units(lead.payload) == sets


def test_a_set_of_the_same_id_replaces_the_one_before_and_another_id_stands_beside_it() -> None:
    old, new = (_sets_of(size) for size in ((320, 192), (640, 352)))
    _, picture = first_units("H264")
    starts = told(Starts(codec("H264")), [*old, new[0]])
    assert [lead.payload for lead in starts.lead(key_packet(picture[0]))] == [new[0], old[1]]
    other = old[1][:1] + b"\x5a" + old[1][2:]  # its first bits, 010, say the id 1
    told(starts, [other])
    assert [lead.payload for lead in starts.lead(key_packet(picture[0]))] == [new[0], old[1], other]
    assert [lead.index - (2 << 16) for lead in starts.lead(key_packet(picture[0]))] == [997, 998, 999]


def _sets_of(size: tuple[int, int]) -> list[bytes]:
    frame = encode_grey("libx264", size, {"preset": "ultrafast"})[0]
    return [unit for unit in units(frame) if unit[0] & 31 in (7, 8)]


def test_the_size_comes_from_sets_that_were_said_before() -> None:
    sets, picture = first_units("H265")
    starts = told(Starts(codec("H265")), sets)
    assert starts.size(key_packet(picture[0])) == (320, 192)


@pytest.mark.parametrize(
    ("wire", "payload", "problem"),
    [
        ("H264", b"\x65\x88\x84", Problem.NO_PARAMETER_SETS),
        ("H265", b"\x26\x01\xaf", Problem.NO_PARAMETER_SETS),
        ("H264", b"\x61\x88\x84", Problem.NO_KEY_FRAME),
        ("VP8", b"\x10\x01\x00", Problem.NO_KEY_FRAME),
        ("VP9", b"\x48\x01\x00", Problem.NO_KEY_FRAME),
        ("AV1", b"\x10\x32\x00", Problem.NO_KEY_FRAME),
        ("VP8", b"\x10\x00\x00", None),
        ("opus", b"\x00", None),
    ],
)
def test_a_problem_is_said_within_five_seconds(wire: str, payload: bytes, problem: Problem | None) -> None:
    starts = told(Starts(codec(wire)), [payload])
    starts.check(0.5, heard=False, strange=False)
    for now in (1.0, 2.0, 4.0):
        starts.check(now, heard=True, strange=False)
        assert starts.problem is None
    starts.check(5.4, heard=True, strange=False)
    assert starts.problem is problem


def test_a_problem_ends_with_its_cause_and_with_another_stream() -> None:
    sets, picture = first_units("H264")
    starts = told(Starts(codec("H264")), picture[:1])
    for now in (0.0, 5.0):
        starts.check(now, heard=True, strange=False)
    assert starts.problem is Problem.NO_PARAMETER_SETS
    told(starts, sets)
    starts.check(5.1, heard=True, strange=False)
    assert starts.problem is None
    starts.use(codec("VP8"))
    starts.check(5.2, heard=True, strange=False)
    assert starts.problem is None


def test_packets_of_a_codec_that_was_not_agreed_are_a_problem() -> None:
    starts = Starts(Codec("VP8", 90000, 1, 96))
    for now in (0.0, 4.5):
        starts.check(now, heard=False, strange=True)
    assert starts.problem is Problem.NO_CODEC
