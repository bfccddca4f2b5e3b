"""SDP text: offers of real peers are read, others are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.rtc.sdp.codec import Codec
from sfu.rtc.sdp.description import MID, SdpError
from sfu.rtc.sdp.parse import parse_description
from tests.helpers.offers import NAMES, answer, offer

HEAD = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\n"
    f"a=ice-pwd:{'p' * 24}\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n"
)
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_vector_is_understood(name: str) -> None:
    description = parse_description(offer(name))
    assert description.transport.complete
    assert description.setup == "actpass"
    assert any(section.codecs for section in description.sections)
    assert all(len(section.mid) > 0 for section in description.sections)


def test_a_browser_camera_and_microphone() -> None:
    audio, video = parse_description(offer("chromium-sendrecv")).sections
    assert (audio.kind, audio.mid, audio.direction, audio.rtcp_mux) == ("audio", "0", "sendrecv", True)
    assert audio.codecs[0] == Codec(
        "opus", 48000, 2, 111, (("minptime", "10"), ("useinbandfec", "1")), ("transport-cc",)
    )
    assert {codec.name for codec in video.codecs} == {"VP8", "VP9", "H264", "AV1"}
    assert "nack pli" in video.codecs[0].feedback
    assert len(video.ssrcs) == 1, "the SSRC that only repairs is left out"
    assert audio.stream == video.stream
    assert audio.track != video.track
    assert video.extensions[MID] == 4


def test_firefox_puts_the_fingerprint_on_session_level_fmtp_first_and_bundles_on_port_0() -> None:
    audio, video = parse_description(offer("firefox-view")).sections
    assert video.rejected is False
    assert video.direction == "recvonly"
    assert video.transport.fingerprints == audio.transport.fingerprints
    assert audio.codecs[0].parameter("stereo") == "1"
    assert [codec.name for codec in video.codecs] == ["VP8", "VP9", "H264", "H264", "AV1"]
    assert video.codecs[2].parameter("profile-level-id") == "42e01f"


def test_gstreamer_pads_fmtp_writes_opus_in_capitals_and_names_streams_by_ssrc() -> None:
    audio, video = parse_description(offer("gstreamer-pub")).sections
    assert (audio.codecs[0].name, audio.codecs[0].channels) == ("opus", 2)
    assert video.codecs[0].parameter("profile-level-id") == "42c015"
    assert (video.stream, video.track) == ("user3197027544@host-63f598de", "webrtctransceiver1")
    assert video.ssrcs == (2719326061,)
    assert video.cname == "user3197027544@host-63f598de"


def test_embedded_peers_write_no_mid_no_rtpmap_for_static_types_and_small_letters() -> None:
    description = parse_description(offer("embedded-pub"))
    video, audio = description.sections
    assert (video.mid, video.named, video.protocol) == ("0", False, "udp/tls/rtp/savpf")
    assert (video.codecs[0].name, audio.codecs[0].name) == ("H264", "PCMA")
    assert description.bundle is None


def test_retransmissions_are_read_for_the_codecs_we_know() -> None:
    _, video = parse_description(offer("chromium-sendrecv")).sections
    ours = {codec.payload_type for codec in video.codecs}
    assert set(video.rtx.values()) == ours
    assert not video.rtx.keys() & ours
    ((repair, primary),) = video.repairs.items()
    assert video.ssrcs == (primary,)
    assert repair != primary


@pytest.mark.parametrize(
    "lines",
    [
        "a=fmtp:97 apt=98",
        "a=fmtp:97 apt=97",
        "a=fmtp:97 apt=many",
        "a=fmtp:97 apt",
        "a=fmtp:97 rtx-time=300",
        "",
    ],
)
def test_retransmissions_of_nothing_are_left_out(lines: str) -> None:
    (section,) = parse_description(
        f"{HEAD}{VIDEO.replace(' 96', ' 96 97')}a=rtpmap:97 rtx/90000\r\n{lines}\r\n"
    ).sections
    assert (section.rtx, len(section.codecs)) == ({}, 1)


@pytest.mark.parametrize(
    ("group", "repairs"),
    [
        ("FID 1 2", {2: 1}),
        ("FID 1 2 3", {}),
        ("FID 1", {}),
        ("FEC-FR 1 2", {}),
        ("FID 1 4294967296", {}),
    ],
)
def test_a_repair_group_has_two_ssrcs(group: str, repairs: dict[int, int]) -> None:
    (section,) = parse_description(f"{HEAD}{VIDEO}a=ssrc-group:{group}\r\n").sections
    assert section.repairs == repairs


RID_LINES = "a=rid:q send\r\na=rid:h send max-width=640;max-fps=30\r\na=rid:f-1_ send\r\na=rid:x recv\r\n"


@pytest.mark.parametrize(
    ("simulcast", "rids"),
    [
        ("send q;h;f-1_", ("q", "h", "f-1_")),
        ("send f-1_;~h;q", ("f-1_", "h", "q")),
        ("send h,q;~f-1_,q", ("h", "f-1_")),
        ("recv x send q;h", ("q", "h")),
        ("send q;h recv x", ("q", "h")),
        ("send q", ("q",)),
        ("recv x", ()),
        ("recv q;h", ()),
        ("send q;x", ()),
        ("send q;h;", ()),
        ("send q;;h", ()),
        ("send q;q", ()),
        ("send q;unknown", ()),
        ("send ~~q", ()),
        ("send", ()),
        ("q;h", ()),
        ("send q h", ()),
        ("send rid=q;h", ()),
    ],
)
def test_layers_are_those_the_peer_would_send_or_none(simulcast: str, rids: tuple[str, ...]) -> None:
    (section,) = parse_description(f"{HEAD}{VIDEO}{RID_LINES}a=simulcast:{simulcast}\r\n").sections
    assert section.rids == rids


@pytest.mark.parametrize(
    "line",
    ["a=rid:z send pt=96", "a=rid:z send max-width=9;pt=96", f"a=rid:{'z' * 17} send", "a=rid:z* send", "a=rid:z"],
)
def test_a_rid_that_we_cannot_take_costs_the_layers(line: str) -> None:
    rid = line.removeprefix("a=rid:").split(" ")[0]
    (section,) = parse_description(f"{HEAD}{VIDEO}{RID_LINES}{line}\r\na=simulcast:send q;{rid}\r\n").sections
    assert section.rids == ()


def test_at_most_four_layers_are_taken() -> None:
    rids = [str(number) for number in range(9)]
    lines = "".join(f"a=rid:{rid} send\r\n" for rid in rids)
    (section,) = parse_description(f"{HEAD}{VIDEO}{lines}a=simulcast:send {';'.join(rids)}\r\n").sections
    assert section.rids == ("0", "1", "2", "3")


def test_a_browsers_layers_keep_their_order_with_those_it_does_not_send_now() -> None:
    audio, video = parse_description(offer("chromium-layers")).sections
    assert (audio.rids, video.rids) == ((), ("q", "h", "f"))
    assert (video.ssrcs, video.repairs) == ((), {}), "packets tell by rid"


def test_layers_are_answered_in_the_order_offered() -> None:
    text = answer(offer("chromium-simulcast"), "pub")
    assert "a=rid:h recv\r\na=rid:l recv\r\na=simulcast:recv h;l\r\n" in text


def test_what_was_read_before_does_not_colour_what_is_read_next() -> None:
    described = {
        text: parse_description(HEAD + VIDEO + text) for text in ("", "a=rtcp-fb:96 nack pli\r\n", "a=fmtp:96 x=1\r\n")
    }
    assert [description.sections[0].codecs[0].feedback for description in described.values()] == [(), ("nack pli",), ()]
    assert [len(description.sections[0].codecs[0].parameters) for description in described.values()] == [0, 0, 1]
    assert all(parse_description(HEAD + VIDEO + text) == description for text, description in described.items())


def test_candidates_are_kept_as_they_are() -> None:
    description = parse_description(offer("libdatachannel-pub"))
    assert description.candidates == ("candidate:1 1 UDP 2122317823 10.1.2.3 54778 typ host",)
    assert description.end_of_candidates
    assert description.setup == "actpass"


def test_stopped_and_data_sections_keep_their_place() -> None:
    sections = parse_description(offer("chromium-wall-stopped")).sections
    assert [section.rejected for section in sections] == [False, False, True, False, False, False, True]
    assert [section.index for section in sections] == list(range(7))
    assert parse_description(offer("chromium-wall")).sections[6].formats == ("webrtc-datachannel",)


@pytest.mark.parametrize(
    "line",
    [
        "a=ssrc:1234",
        "a=ssrc:1234 nonsense",
        "a=ssrc:99999999999 cname:x",
        "a=extmap:2/recvonly urn:x attributes follow",
        "a=extmap:x",
        "a=fmtp:97 no=such;format",
        "a=fmtp:96 max-fr=29.97; stereo=yes;; =",
        "a=fmtp:96",
        "a=rtpmap:97",
        "a=rtpmap:96 VP8",
        "a=rtcp-fb:*",
        "a=rtcp:nonsense",
        "a=candidate:short",
        "a=rid:h send pt=96",
        "a=simulcast:send h;l",
        "a=ssrc-group:FID x y",
        "a=setup:holdconn",
        "a=mid:with space",
        "a=fingerprint:sha-256",
        "a=group",
        "c=IN IP9 nowhere",
        "b=AS:x",
        "nonsense",
        "",
    ],
)
def test_a_line_out_of_shape_costs_nothing_but_itself(line: str) -> None:
    (section,) = parse_description(f"{HEAD}{VIDEO}{line}\r\n").sections
    assert [codec.name for codec in section.codecs] == ["VP8"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_request"),
        ("hello", "bad_request"),
        (HEAD, "bad_request"),
        (f"{HEAD}m=video\r\n", "bad_request"),
        (f"{HEAD}m=video nine UDP/TLS/RTP/SAVPF 96\r\n", "bad_request"),
        (f"v=0\r\n{VIDEO}", "bad_request"),
        (HEAD.replace("sha-256", "md5") + VIDEO, "bad_request"),
        (HEAD.replace("abcd", "a:bcd") + VIDEO, "bad_request"),
        (f"{HEAD}{VIDEO}a=mid:x\r\n{VIDEO}a=mid:x\r\n", "bad_request"),
        (HEAD + VIDEO.replace(" 9 ", " 0 "), "codec"),
        (HEAD + VIDEO * 65, "too_large"),
        (HEAD + VIDEO * 400, "too_large"),
        (HEAD + VIDEO + "a=x\r\n" * 4096, "too_large"),
        ("a" * (1 << 20), "too_large"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_code(text: str, code: str) -> None:
    with pytest.raises(SdpError) as caught:
        parse_description(text)
    assert caught.value.code == code
    assert caught.value.message


def outcome(text: str) -> str:
    """The outcome; any exception but SdpError fails the test."""
    try:
        parse_description(text)
    except SdpError as error:
        return error.code
    return "description"


def readable(text: str) -> None:
    assert outcome(text) in {"description", "bad_request", "codec", "too_large"}


@given(st.text())
def test_any_text_is_a_description_or_refused(text: str) -> None:
    readable(text)
    readable(HEAD + text)
    readable(HEAD + VIDEO + text)


@given(name=st.sampled_from(NAMES), data=st.data())
def test_mangled_offers_are_a_description_or_refused(name: str, data: st.DataObject) -> None:
    lines = offer(name)[:12000].split("\r\n")
    for position in data.draw(st.lists(st.integers(0, len(lines) - 1), max_size=8)):
        index = position % len(lines)
        lines[index : index + 1] = data.draw(st.sampled_from([[], [lines[index]] * 2, [lines[index][::-1]]]))
    raw = bytearray("\r\n".join(lines).encode())
    for position in data.draw(st.lists(st.integers(0, max(len(raw) - 1, 0)), max_size=8)):
        raw[position] ^= 1 << data.draw(st.integers(0, 7))
    readable(raw.decode("latin-1"))
