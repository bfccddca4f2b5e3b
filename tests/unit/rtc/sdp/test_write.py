"""SDP text of ours: it reads back as written, stays small, and aiortc accepts it."""

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import MID, OfferSection
from sfu.rtc.sdp.negotiate import Role
from sfu.rtc.sdp.parse import parse_description
from sfu.rtc.sdp.write import write_answer, write_offer
from tests.helpers.offers import LOCAL, NAMES, answer, negotiated, offer


def test_an_answer_reads_back_as_what_was_agreed() -> None:
    agreed = negotiated(offer("chromium-join-added"), "join")
    description = parse_description(write_answer(agreed, LOCAL, session_id=7, version=3))
    assert description.origin == "- 7 3 IN IP4 127.0.0.1"
    assert description.ice_lite
    assert description.setup == "passive"
    assert description.bundle == ("0", "1", "2", "3")
    assert description.candidates == tuple(f"candidate:{candidate}" for candidate in LOCAL.candidates)
    for section, ours in zip(description.sections, agreed.sections, strict=True):
        assert section.direction == ours.direction
        assert section.extensions == ours.extensions
        assert [codec.payload_type for codec in section.codecs] == [codec.payload_type for codec in ours.codecs]
        assert ours.send is not None
        assert section.ssrcs == (ours.send.ssrc,)
        assert section.rtx == {number: repaired for repaired, number in ours.send.rtx.items()}
        assert section.repairs == ({} if ours.send.rtx_ssrc is None else {ours.send.rtx_ssrc: ours.send.ssrc})
        assert [codec.feedback for codec in section.codecs] == [codec.feedback for codec in ours.codecs]
        assert (section.stream, section.track) == (ours.send.stream, ours.send.track)


@pytest.mark.parametrize(
    "name", ["chromium-view", "chromium-sendrecv", "chromium-layers", "firefox-view", "pion-pub", "embedded-pub"]
)
@pytest.mark.parametrize("role", ["pub", "view", "join"])
def test_answers_for_sound_and_picture_are_shorter_than_the_offer_or_4_kib(name: str, role: Role) -> None:
    assert len(answer(offer(name), role)) < max(4096, len(offer(name)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", ["pub", "view", "join"])
def test_feedback_is_answered_for_each_codec_and_never_for_retransmissions(name: str, role: Role) -> None:
    text = answer(offer(name), role)
    told = {line.split(":")[1].split(" ")[0] for line in text.splitlines() if line.startswith("a=rtcp-fb:")}
    assert told <= {
        str(codec.payload_type) for section in negotiated(offer(name), role).sections for codec in section.codecs
    }


def test_a_one_way_extension_is_answered_with_its_direction() -> None:
    text = answer(offer("chromium-sendrecv").replace("a=extmap:4 ", "a=extmap:4/sendonly "), "join")
    assert f"a=extmap:4/recvonly {MID}\r\n" in text
    assert "a=extmap:4 " not in text


def test_candidates_stand_in_the_section_whose_transport_all_share() -> None:
    text = answer(offer("chromium-sendrecv").replace("BUNDLE 0 1", "BUNDLE 1 0"), "join")
    _, audio, video = text.split("m=")
    assert ("a=candidate:" in audio, "a=candidate:" in video) == (False, True)
    assert "a=group:BUNDLE 1 0\r\n" in text


def test_a_senders_own_declarations_are_not_repeated() -> None:
    text = answer(offer("gstreamer-pub"), "pub")
    assert "sprop-" not in text
    assert "a=fmtp:96 packetization-mode=1;profile-level-id=42c015\r\n" in text


def test_our_offers_read_back_as_written() -> None:
    parameters = (("packetization-mode", "1"), ("sprop-parameter-sets", "Z0A="))
    codec = Codec("H264", 90000, 1, 102, parameters, ("nack", "nack pli"))
    sections = [
        OfferSection(
            "0",
            "video",
            "sendonly",
            (codec,),
            {MID: 4},
            ssrc=5,
            stream="camera",
            track="video",
            rtx={102: 103},
            rtx_ssrc=6,
            rids=("q", "h"),
        ),
        OfferSection("1", "audio", "recvonly", (Codec("opus", 48000, 2, 111),)),
    ]
    description = parse_description(write_offer(sections, LOCAL, session_id=1, version=1))
    video, audio = description.sections
    assert (description.bundle, description.setup) == (("0", "1"), "actpass")
    assert (video.codecs, video.ssrcs, video.stream, video.track) == ((codec,), (5,), "camera", "video")
    assert (video.rtx, video.repairs, video.rids) == ({103: 102}, {6: 5}, ("q", "h"))
    assert (audio.rtx, audio.repairs, audio.rids) == ({}, {}, ())
    assert (video.direction, video.extensions, audio.direction, audio.ssrcs) == ("sendonly", {MID: 4}, "recvonly", ())


@pytest.mark.parametrize("role", ["pub", "view", "join"])
async def test_aiortc_accepts_our_answers(role: Role) -> None:
    peer = RTCPeerConnection()
    try:
        peer.addTransceiver("audio", direction="sendrecv")
        peer.addTransceiver("video", direction="sendrecv")
        peer.createDataChannel("refused")
        await peer.setLocalDescription(await peer.createOffer())
        text = peer.localDescription.sdp
        assert [section.rejected for section in negotiated(text, role).sections] == [None, None, "kind"]
        await peer.setRemoteDescription(RTCSessionDescription(answer(text, role), "answer"))
        expected = {"pub": "sendonly", "view": "recvonly", "join": "sendrecv"}[role]
        assert [transceiver.currentDirection for transceiver in peer.getTransceivers()] == [expected] * 2
    finally:
        await peer.close()
