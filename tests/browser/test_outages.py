"""The page's words when something is missing, and its return to normal by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.async_api import Browser, expect

from sfu.clients.pattern import Pattern
from sfu.clients.publish import Camera
from tests.helpers.brokers import Mosquitto, free_port
from tests.helpers.browser.cameras import Painted, on_air
from tests.helpers.browser.pages import camera_page, decoded, opened, tiles_when, until_live
from tests.helpers.serving import serving
from tests.helpers.waiting import until

StartMosquitto = Callable[..., Mosquitto]

# A browser that offers no H.264, as Firefox before it has downloaded its plug-in.
WITHOUT_H264 = """
const add = RTCPeerConnection.prototype.addTransceiver;
RTCPeerConnection.prototype.addTransceiver = function (kind, init) {
  const transceiver = add.call(this, kind, init);
  if (kind === 'video') {
    const codecs = RTCRtpReceiver.getCapabilities('video').codecs;
    transceiver.setCodecPreferences(codecs.filter((codec) => codec.mimeType !== 'video/H264'));
  }
  return transceiver;
};
"""


async def test_a_viewer_without_the_codec_is_told_and_sees_the_others(
    chromium: Browser, mosquitto: StartMosquitto
) -> None:
    """The camera's sound plays all the same."""
    async with (
        serving(mosquitto().url, media__codecs="vp8,h264") as service,
        on_air(service, "hall", "h264", Camera(Pattern(0, width=320, height=180, rate=15))),
    ):
        await camera_page(chromium, service, "hall", "vp8")
        viewer = await opened(chromium, service, "#hall", init=WITHOUT_H264)
        await until_live(viewer, "hall/vp8")
        await tiles_when(viewer, lambda windows: ("h264", "unplayable", "codec") in map(refusal, windows))
        await expect(viewer.get_by_text("This browser cannot play H.264")).to_be_visible()
        await decoded(viewer, 20)
        await tiles_when(viewer, lambda windows: sound(windows, "h264") > 48_000)


def refusal(tile: dict[str, Any]) -> tuple[str, str, str | None]:
    return tile["peer"], tile["state"], tile.get("reason")


def sound(windows: list[dict[str, Any]], peer: str) -> int:
    """Samples of a camera's sound that were played."""
    played: int = next((tile["audio"] or {}).get("totalSamplesReceived", 0) for tile in windows if tile["peer"] == peer)
    return played


async def test_a_server_that_stops_is_said_to_be_away_and_comes_back(
    chromium: Browser, mosquitto: StartMosquitto
) -> None:
    """The page stays open: the restarted server has another boot id, and everybody offers anew."""
    broker, http = mosquitto(), f"127.0.0.1:{free_port()}"
    async with serving(broker.url, http=http) as service:
        await camera_page(chromium, service, "hall", "one")
        viewer = await opened(chromium, service, "#hall")
        await until_live(viewer, "hall/one")
    await expect(viewer.locator(".status")).to_have_text("Server offline")
    async with serving(broker.url, http=http):
        await until_live(viewer, "hall/one")
        await decoded(viewer, 20)
        await expect(viewer.locator(".status")).to_have_text("Connected")


async def test_pages_go_on_and_join_while_the_broker_is_away(chromium: Browser, mosquitto: StartMosquitto) -> None:
    broker = mosquitto()
    async with serving(broker.url) as service, on_air(service, "hall", "one", Camera(Painted())):
        viewer = await opened(chromium, service, "#hall")
        (before,) = await until_live(viewer, "hall/one")
        broker.kill()
        await until(lambda: not service.link.connected)
        late = await opened(chromium, service, "#hall")  # the door needs no broker
        await until_live(late, "hall/one")
        await decoded(viewer, 40)
        await expect(viewer.locator(".status")).to_have_text("Connected")
        broker.restart()
        await service.link.wait_connected(60)
        (after,) = await until_live(viewer, "hall/one")
        assert after["connectedAt"] == before["connectedAt"]
        assert after["packetsLost"] == 0
