"""Chromium as camera and as viewer through TURN servers, towards a full agent, and over IPv6: all of it arrives."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from sfu.rtc.ice.agent import IceAgent, TurnServer
from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.browser.pages import camera_page, decoded, opened, until_live
from tests.helpers.coturn import coturn, shut, turn_settings
from tests.helpers.serving import serving

Brokers = Callable[..., Mosquitto]
Pair = dict[str, dict[str, Any]]

# The page's connections are kept, and made with the given configuration beside its own. The camera is a small one:
# two software encoders and decoders of 720p would be a test of this machine.
CONNECTIONS = """
const given = %s;
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(configuration) {
    super({...configuration, ...given});
    window.connections.push(this);
  }
};
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = ({audio}) => open({audio, video: {width: 640, height: 360}});
"""

SELECTED_PAIR = """async () => {
  const reports = await window.connections.findLast((it) => it.connectionState === 'connected').getStats();
  const transport = [...reports.values()].find((report) => report.type === 'transport');
  const pair = reports.get(transport.selectedCandidatePairId);
  return {local: reports.get(pair.localCandidateId), remote: reports.get(pair.remoteCandidateId)};
}"""


def relay_only(turn: TurnServer) -> dict[str, object]:
    """RTCConfiguration of a browser whose network lets nothing through but TURN."""
    url = f"turn:{turn.host}:{turn.port}?transport={turn.transport}"
    server = {"urls": url, "username": turn.username, "credential": turn.password}
    return {"iceServers": [server], "iceTransportPolicy": "relay"}


async def played(chromium: Browser, service: Service, configuration: dict[str, object] | None = None) -> list[Pair]:
    """A Chromium's camera on another's wall for 50 pictures, nothing lost; the pairs that camera and viewer use."""
    init = CONNECTIONS % json.dumps(configuration or {})
    camera = await camera_page(chromium, service, "hall", "one", init=init)
    viewer = await opened(chromium, service, "#hall", init=init)
    await until_live(viewer, "hall/one")
    _, (tile,) = await decoded(viewer, 50)
    assert (tile["packetsLost"], tile["audio"]["packetsLost"]) == (0, 0)
    assert not any(agent.drops["no_path"] for agent in agents(service))
    return [await selected_pair(page) for page in (camera, viewer)]


async def selected_pair(page: Page) -> Pair:
    """The local and the remote candidate that the page's newest connection uses."""
    pair: Pair = await page.evaluate(SELECTED_PAIR)
    return pair


def agents(service: Service) -> list[IceAgent]:
    return [participant.transport.agent for participant in service.server.participants.values()]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_browser_that_gets_out_through_turn_alone(
    chromium: Browser, mosquitto: Brokers, tmp_path: Path, transport: str
) -> None:
    async with coturn(tmp_path, transport) as (turn, _), serving(mosquitto().url) as service:
        for pair in await played(chromium, service, relay_only(turn)):
            assert (pair["local"]["candidateType"], pair["local"]["relayProtocol"]) == ("relay", transport)
            assert pair["remote"]["port"] == service.port.port


async def test_a_full_agent_is_reached_at_its_one_port(chromium: Browser, mosquitto: Brokers, tmp_path: Path) -> None:
    """With STUN and TURN the server has other candidates too; the direct way wins."""
    async with coturn(tmp_path) as (turn, _):
        servers = {"media__stun": f"stun:{turn.host}:{turn.port}", **turn_settings(turn)}
        async with serving(mosquitto().url, **servers) as service:
            for pair in await played(chromium, service):
                assert (pair["remote"]["candidateType"], pair["remote"]["port"]) == ("host", service.port.port)
            assert all(agent.path for agent in agents(service))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_server_whose_port_is_shut_is_reached_by_its_relay(
    chromium: Browser, mosquitto: Brokers, tmp_path: Path, transport: str
) -> None:
    async with (
        coturn(tmp_path, transport) as (turn, _),
        serving(mosquitto().url, media__announce="127.0.0.9", **turn_settings(turn)) as service,
    ):
        shut(service)
        for pair in await played(chromium, service):
            assert pair["remote"]["candidateType"] == "relay"
        assert not any(agent.path for agent in agents(service))


async def test_both_sides_behind_their_relays(chromium: Browser, mosquitto: Brokers, tmp_path: Path) -> None:
    async with (
        coturn(tmp_path) as (turn, _),
        serving(mosquitto().url, media__announce="127.0.0.9", **turn_settings(turn)) as service,
    ):
        shut(service)
        for pair in await played(chromium, service, relay_only(turn)):
            assert {end["candidateType"] for end in pair.values()} == {"relay"}


async def test_a_server_on_ipv6_alone(chromium: Browser, mosquitto: Brokers) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with serving(mosquitto().url, media__bind="::1", media__announce="::1") as service:
        for pair in await played(chromium, service):
            assert pair["remote"]["address"] == "::1"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
