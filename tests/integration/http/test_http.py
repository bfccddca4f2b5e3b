"""The HTTP server as clients see it: documents, files, health, and the broker proxy with a real Mosquitto."""

from __future__ import annotations

import asyncio

import aiohttp
import aiomqtt
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from sfu.http.assets import STATIC
from sfu.http.server import HttpError, PageInfo
from tests.helpers.http import CONNACK, CONNECT, DoorStage, Start
from tests.helpers.waiting import PATIENCE_S, until


class TestResources:
    async def test_config_tells_the_page_where_and_what(self, start: Start, client: ClientSession) -> None:
        page = PageInfo(base="home/sfu", version="1.2.3", ice_servers=lambda name: ({"urls": f"stun:{name}:3478"},))
        server = await start(page=page)
        async with client.get(server.url + "config.json") as response:
            assert await response.json() == {
                "name": "sfu",
                "version": "1.2.3",
                "base": "home/sfu",
                "websocket": "mqtt",
                "ice_servers": [{"urls": "stun:page:3478"}],
                "recordings": False,
                "access": "open",
                "user": None,
                "peer": None,
                "rooms": ["*"],
                "can": ["admin", "playback", "publish", "record", "view"],
                "expires": None,
            }
            assert response.headers["Cache-Control"] == "no-store"

    async def test_health_is_the_process_and_readiness_the_broker(self, start: Start, client: ClientSession) -> None:
        connected = False
        server = await start(ready=lambda: connected)
        assert (await client.get(server.url + "healthz")).status == 200
        assert (await client.get(server.url + "readyz")).status == 503
        connected = True
        assert (await client.get(server.url + "readyz")).status == 200

    async def test_metrics_and_rooms_come_from_their_callables(self, start: Start, client: ClientSession) -> None:
        server = await start(rooms=lambda: {"rooms": [{"room": "site/gate"}]})
        async with client.get(server.url + "metrics") as response:
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert await response.read() == b"sfu_up 1\n"
        async with client.get(server.url + "api/rooms") as response:
            assert await response.json() == {"rooms": [{"room": "site/gate"}]}

    @pytest.mark.parametrize(
        "path",
        [
            *("nothing", "static/", "static/none.js", "static/..%2fserver.py", "static/.sources"),
            *("embed/", "embed/a//b", "embed/a/b/c/d/e", "embed/site/view", "embed/%3Cscript%3E"),
            *("api", "whep/site", "mqtt/x"),
        ],
    )
    async def test_everything_else_is_not_found(self, start: Start, client: ClientSession, path: str) -> None:
        server = await start()
        async with client.get(server.url + path) as response:
            assert response.status == 404

    async def test_a_taken_port_is_said_in_words(self, start: Start) -> None:
        first = await start()
        with pytest.raises(HttpError, match=f"127.0.0.1:{first.port} is used by another program"):
            await start(port=first.port)

    async def test_a_foreign_address_is_said_in_words(self, start: Start) -> None:
        with pytest.raises(HttpError, match=r"192\.0\.2\.1 is not an address of this machine"):
            await start(host="192.0.2.1")

    async def test_stop_frees_the_port_and_may_be_repeated(self, start: Start) -> None:
        first = await start()
        port = first.port
        await first.stop()
        await first.stop()
        assert (await start(port=port)).port == port


@pytest.mark.skipif(not (STATIC / "app.js").is_file(), reason="needs the bundled page")
class TestDocuments:
    async def test_the_wall_runs_nothing_but_its_own_files(self, start: Start, client: ClientSession) -> None:
        server = await start()
        async with client.get(server.url) as response:
            text = await response.text()
            policy = response.headers["Content-Security-Policy"]
        assert 'data-page="wall"' in text
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert f"connect-src 'self' ws://127.0.0.1:{server.port}" in policy
        assert policy.endswith("frame-ancestors 'self'")
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "aiohttp" not in response.headers["Server"]

    async def test_framing_by_other_sites_is_a_setting_of_the_player(self, start: Start, client: ClientSession) -> None:
        server = await start(frame_ancestors=("https://home.example",))
        async with client.get(server.url + "embed/site/gate") as response:
            assert 'data-page="embed"' in await response.text()
            assert response.headers["Content-Security-Policy"].endswith("frame-ancestors https://home.example")
        async with client.get(server.url) as response:
            assert response.headers["Content-Security-Policy"].endswith("frame-ancestors 'self'")

    async def test_addresses_work_below_a_path_of_a_reverse_proxy(self, start: Start, client: ClientSession) -> None:
        server = await start()
        for path, root in (("embed/site", "../"), ("embed/site/gate/north", "../../../")):
            async with client.get(server.url + path) as response:
                assert f'<base href="{root}">' in await response.text()

    async def test_a_file_is_kept_for_ever_under_its_version_only(self, start: Start, client: ClientSession) -> None:
        server = await start()
        async with client.get(server.url) as response:
            text = await response.text()
        name = text.split('src="')[1].split('"')[0]
        async with client.get(server.url + name) as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert response.headers["Content-Type"] == "text/javascript"
            assert response.headers["Content-Encoding"] == "gzip"
            tag = response.headers["ETag"]
        async with client.get(server.url + "static/app.js", headers={"If-None-Match": tag}) as response:
            assert response.status == 304
            assert response.headers["Cache-Control"] == "no-cache"

    async def test_a_strange_host_header_stays_out_of_the_policy(self, start: Start, client: ClientSession) -> None:
        server = await start()
        async with client.get(server.url, headers={"Host": "x; script-src *"}) as response:
            assert "script-src *" not in response.headers.get("Content-Security-Policy", "")


class TestDoor:
    async def test_an_mqtt_client_reads_and_is_heard(self, start: Start) -> None:
        stage = DoorStage()
        server = await start(door=stage.door)
        stage.board.retain("sfu/bridge/state", b"online")
        async with aiomqtt.Client(
            "127.0.0.1", server.port, transport="websockets", websocket_path="/mqtt", timeout=PATIENCE_S
        ) as mqtt:
            await mqtt.subscribe("sfu/+/state", qos=1)
            payload = bytes(range(256)) * 250
            await mqtt.publish("sfu/x/view/me", payload, qos=1)
            assert stage.said == [("sfu/x/view/me", payload)]
            async with asyncio.timeout(PATIENCE_S):
                message = await anext(aiter(mqtt.messages))
            assert (str(message.topic), message.payload, message.retain) == ("sfu/bridge/state", b"online", True)
        await until(lambda: server.door.connections == 0)
        assert not server.counters

    async def test_text_is_refused(self, start: Start, client: ClientSession) -> None:
        server = await start()
        async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",)) as door:
            await door.send_str("hello")
            message = await door.receive(timeout=PATIENCE_S)
            assert (message.type, message.data) == (WSMsgType.CLOSE, aiohttp.WSCloseCode.UNSUPPORTED_DATA)
        assert server.door.counters["not_binary"] == 1

    async def test_a_giant_message_ends_that_connection_only(self, start: Start, client: ClientSession) -> None:
        server = await start()
        async with (
            client.ws_connect(server.url + "mqtt", protocols=("mqtt",)) as giant,
            client.ws_connect(server.url + "mqtt", protocols=("mqtt",)) as other,
        ):
            await giant.send_bytes(bytes(300 * 1024))
            message = await giant.receive(timeout=PATIENCE_S)
            assert (message.type, message.data) == (WSMsgType.CLOSE, aiohttp.WSCloseCode.MESSAGE_TOO_BIG)
            await other.send_bytes(CONNECT)
            assert await other.receive_bytes(timeout=PATIENCE_S) == CONNACK

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            (None, 101),
            ("http://127.0.0.1:{port}", 101),
            ("https://home.example", 101),
            ("http://evil.example", 403),
            ("http://127.0.0.1:1", 403),
            ("http://127.0.0.1", 403),
            ("http://127.0.0.1:{port}.evil.example", 403),
            ("null", 403),
            ("", 403),
            ("https://[", 403),
        ],
    )
    async def test_only_our_pages_and_named_ones_may_enter(
        self, start: Start, client: ClientSession, origin: str | None, status: int
    ) -> None:
        server = await start(origins=("https://home.example/",))
        headers = {} if origin is None else {"Origin": origin.format(port=server.port)}
        try:
            async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",), headers=headers):
                seen = 101
        except WSServerHandshakeError as error:
            seen = error.status
        assert seen == status

    async def test_what_is_no_mqtt_websocket_gets_400(self, start: Start, client: ClientSession) -> None:
        server = await start()
        assert (await client.get(server.url + "mqtt")).status == 400
        with pytest.raises(WSServerHandshakeError) as refusal:
            await client.ws_connect(server.url + "mqtt", protocols=("chat",))
        assert refusal.value.status == 400

    async def test_too_many_connections_are_503(self, start: Start, client: ClientSession) -> None:
        server = await start()
        server.door.limit = 1
        async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",)):
            with pytest.raises(WSServerHandshakeError) as refusal:
                await client.ws_connect(server.url + "mqtt", protocols=("mqtt",))
            assert refusal.value.status == 503
        await until(lambda: server.door.connections == 0)
        async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",)):
            pass

    async def test_stop_ends_open_connections_at_once(self, start: Start, client: ClientSession) -> None:
        server = await start()
        async with client.ws_connect(server.url + "mqtt", protocols=("mqtt",)) as door:
            await door.send_bytes(CONNECT)
            await door.receive_bytes(timeout=PATIENCE_S)
            async with asyncio.timeout(PATIENCE_S):
                stopping = asyncio.create_task(server.stop())
                message = await door.receive()
                assert (message.type, message.data) == (WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)
                await door.close()
                await stopping
        assert server.door.connections == 0
