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


UNUSABLE = {
    "sound of an unknown codec": "m=audio 9 UDP/TLS/RTP/SAVPF 97\r\na=rtcp-mux\r\na=rtpmap:97 ac-4/48000\r\n",
    "a format without a clock": "m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=rtcp-mux\r\na=rtpmap:97 VP8/0\r\n",
    "a format that nothing describes": "m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=rtcp-mux\r\n",
    "interleaved H.264": "m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=rtcp-mux\r\na=rtpmap:97 H264/90000\r\n"
    "a=fmtp:97 packetization-mode=2\r\n",
    "sound among pictures": "m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=rtcp-mux\r\na=rtpmap:97 opus/48000/2\r\n",
    "no rtcp-mux": "m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=rtpmap:97 VP8/90000\r\n",
    "no RTP": "m=image 9 udptl t38\r\na=rtcp-mux\r\n",
    "data": "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    "no security": "m=video 9 XTP 97\r\na=rtcp-mux\r\na=rtpmap:97 VP8/90000\r\n",
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("first", [True, False])
def test_a_track_that_cannot_be_used_is_left_out_and_the_others_go_on(name: str, first: bool) -> None:
    head, *sections = offer("pion-pub").split("m=")
    usable = [f"m={section}" for section in sections]
    parts = [UNUSABLE[name], *usable] if first else [*usable, UNUSABLE[name]]
    bare = head.replace("a=group:BUNDLE", "a=x-group:")
    whole = "".join([bare, *(f"{part}a=mid:s{number}\r\n" for number, part in enumerate(parts))])
    shared = "a=group:BUNDLE " + " ".join(f"s{number}" for number in range(len(parts)))
    text = answer(whole.replace("a=x-group:", f"{shared}\r\na=x-group:"), "pub")
    lines = [line.split(" ")[1] for line in text.splitlines() if line.startswith("m=")]
    assert lines == (["0", *["9"] * len(usable)] if first else [*["9"] * len(usable), "0"])


@pytest.mark.parametrize("fmtp", ["profile-level-id=zz", "=;=;", "x" * 3000, "packetization-mode=99999", ";" * 500])
def test_odd_parameters_of_one_format_leave_the_others(fmtp: str) -> None:
    text = offer("chromium-sendrecv")
    odd = "a=rtpmap:35 H264/90000\r\na=fmtp:35 " + fmtp + "\r\n"
    changed = text.replace("UDP/TLS/RTP/SAVPF 96", "UDP/TLS/RTP/SAVPF 35 96").replace(
        "a=rtpmap:96", odd + "a=rtpmap:96"
    )
    assert changed != text
    assert "a=rtpmap:96 VP8/90000" in answer(changed, "join")


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
