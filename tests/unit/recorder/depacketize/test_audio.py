"""Sound out of RTP packets: one unit a packet, and how long it lasts."""

from __future__ import annotations

import av
import pytest

from recorder.depacketize import Depacketizer
from recorder.depacketize.audio import opus_duration
from recorder.depacketize.units import CodecParameters
from sfu.media.formats.rtp import Packet
from tests.helpers.encodings import codec


def test_sound_is_a_unit_a_packet() -> None:
    sent = [Packet(False, 96, n, n * 960, 1, b"\xfc\xff\xfe", index=n) for n in (0, 1, 3)]
    depacketizer = Depacketizer(codec("opus"))
    found = [unit for packet in sent for unit in depacketizer.push(packet)]
    assert [(unit.media_time, unit.key, unit.lost, unit.duration) for unit in found] == [
        (0, True, False, 960),
        (960, True, False, 960),
        (2880, True, True, 960),
    ]
    assert found[0].parameters is not None
    assert found[0].parameters.extradata[:10] == b"OpusHead\x01\x02"


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "G722"])
def test_telephone_sound_lasts_as_long_as_it_has_octets(name: str) -> None:
    (unit,) = Depacketizer(codec(name)).push(Packet(True, 0, 0, 0, 1, bytes(160)))
    assert (unit.data, unit.duration) == (bytes(160), 160)
    assert unit.parameters == CodecParameters(name, 8000, channels=1)


@pytest.mark.parametrize("milliseconds", ["2.5", "5", "10", "20", "40", "60"])
@pytest.mark.parametrize("application", ["voip", "audio", "lowdelay"])
def test_opus_says_how_long_it_is(milliseconds: str, application: str) -> None:
    context = av.CodecContext.create("libopus", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = 48000, "mono", "s16"
    context.bit_rate = 12000
    context.options = {"frame_duration": milliseconds, "application": application}
    context.open()
    frame = av.AudioFrame("s16", "mono", context.frame_size)
    frame.sample_rate = 48000
    made = [bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]]
    assert {opus_duration(packet) for packet in made} == {int(float(milliseconds) * 48)}


@pytest.mark.parametrize("packet", [b"", b"\x03", b"\x03\x00", b"\x1b\x3f"])
def test_what_opus_cannot_be_has_no_duration(packet: bytes) -> None:
    assert opus_duration(packet) == 0
