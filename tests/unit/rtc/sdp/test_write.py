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
def test_answers_for_sound_and_picture_stay_below_4_kib(name: str, role: Role) -> None:
    assert len(answer(offer(name), role)) < 4096


def test_feedback_that_all_of_a_dozen_codecs_have_is_written_once() -> None:
    text = answer(offer("chromium-view"), "view")
    assert text.count("a=rtcp-fb:* nack pli\r\n") == text.count("nack pli") == 1
    assert "a=rtcp-fb:96 nack\r\n" in answer(offer("chromium-sendrecv"), "pub", ("vp8",))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {name for name in NAMES if name.startswith("chromium")}))
@pytest.mark.parametrize("role", ["pub", "view", "join"])
def test_only_chromium_is_answered_with_feedback_for_all(name: str, role: Role) -> None:
    assert "a=rtcp-fb:*" not in answer(offer(name), role)


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
