"""A network that comes later than the server, or changes while it runs: new sessions are offered today's addresses."""

from __future__ import annotations

from collections.abc import Callable

from tests.helpers.brokers import Mosquitto
from tests.helpers.lan import lan
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import PeerViewer, publishing
from tests.helpers.raw_peer import RawPeer
from tests.helpers.serving import serving
from tests.helpers.waiting import until


async def test_a_viewer_behind_a_network_that_came_later_sees_the_camera(mosquitto: Callable[..., Mosquitto]) -> None:
    url = mosquitto().url
    async with (
        serving(url, media__bind="0.0.0.0", media__announce="") as service,
        mqtt_client(url) as home,
        publishing(url, "yard/pub/cam") as camera,
    ):
        with lan() as network:
            await until(lambda: network.server in service.addresses.current())
            screen = PeerViewer()
            caller = RawPeer(home, "yard/view/eye", network.port(), screen)
            try:
                assert f" {network.server} " in await caller.connect()
                await screen.receives(camera)
            finally:
                await caller.close()
        await until(lambda: network.server not in service.addresses.current())
