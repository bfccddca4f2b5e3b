"""docs/openapi.yaml against a server at work: the same routes, and answers as the document describes them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import watching
from tests.helpers.serving import serving
from tests.helpers.waiting import until
from tests.integration.docs.schemas import Document

OPENAPI = Document("openapi.yaml")
PATHS: dict[str, dict[str, Any]] = OPENAPI.content["paths"]
LOGIN = {("post", "/login"), ("post", "/logout")}
"""Operations of servers that ask who comes."""
METHODS = ("get", "put", "delete", "post", "patch")


def documented() -> set[tuple[str, str]]:
    """Returns (method, path) of every operation in the document."""
    return {(method, path) for path, item in PATHS.items() for method in item if method in METHODS}


def registered(service: Service) -> set[tuple[str, str]]:
    """Returns (method, path) of every route of a server; HEAD goes with GET."""
    assert service.http is not None
    return {(method.lower(), path) for method, path in service.http.routes if method != "HEAD"}


class Client:
    """Asks a server and checks each answer against the document."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self.seen: set[tuple[str, str]] = set()

    async def ask(self, method: str, path: str, status: int = 200, *, query: str = "", **levels: str) -> Any:
        """Returns the JSON of the answer, or its bytes; `path` as in the document, `levels` for its parameters."""
        operation = PATHS[path][method]
        address = re.sub(r"\{(\w+)\}", lambda match: quote(levels[match[1]]), path)
        async with self._session.request(method, f"{self._url}{address}?{query}".rstrip("?")) as answer:
            assert answer.status == status, (address, await answer.text())
            response = operation["responses"].get(str(status))
            assert response is not None, f"{method} {path} answered {status}"
            described = OPENAPI.resolve(response).get("content", {})
            assert not described or answer.content_type in described, answer.content_type
            self.seen.add((method, path))
            if answer.content_type != "application/json":
                return await answer.read()
            value = await answer.json()
        pointer = response.get("$ref") or f"#/paths/{path.replace('/', '~1')}/{method}/responses/{status}"
        assert OPENAPI.faults(f"{pointer}/content/application~1json/schema", value) == [], value
        return value


@asynccontextmanager
async def client_of_a_server_at_work(
    mosquitto: Callable[..., Mosquitto], directory: Path
) -> AsyncIterator[tuple[Client, Service]]:
    """Runs a server with a recorded camera and a viewer."""
    source = make_file(directory / "source.mp4", options={"bf": "0", "g": "5"})
    url = mosquitto().url
    async with (
        serving(url, recording__dir=directory / "recordings", recording__mode="always") as service,
        mqtt_client(url) as home,
        camera(url, "site/gate/pub/cam1", source),
        watching(url, "site/view/anna"),
        aiohttp.ClientSession() as session,
    ):
        await until(lambda: home.latest.get("sfu/site/recordings/state") == b"ON")
        assert service.http is not None
        yield Client(service.http.url.rstrip("/"), session), service


async def test_routes_and_answers_are_those_of_the_document(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    async with asyncio.timeout(120), client_of_a_server_at_work(mosquitto, tmp_path) as (client, service):
        assert registered(service) == documented() - LOGIN
        await ask_for_the_page(client)
        await ask_for_rooms(client)
        await ask_for_recordings(client)
        assert client.seen == documented() - LOGIN


async def test_a_server_that_asks_who_comes_has_all_routes(
    access_on: None, mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    async with serving(mosquitto().url, recording__dir=tmp_path) as service, aiohttp.ClientSession() as session:
        assert registered(service) == documented()
        assert service.http is not None
        client = Client(service.http.url.rstrip("/"), session)
        await client.ask("post", "/login", 400)
        await client.ask("post", "/logout", 204)
        await client.ask("get", "/config.json", 401)
        await client.ask("get", "/api/recordings", 401)


async def ask_for_the_page(client: Client) -> None:
    await client.ask("get", "/")
    await client.ask("get", "/embed/{room}", room="site/gate")
    await client.ask("get", "/embed/{room}", 404, room="bridge")
    await client.ask("get", "/login")
    await client.ask("get", "/config.json")
    await client.ask("get", "/static/{name}", name="icon.svg")
    await client.ask("get", "/static/{name}", 404, name="none")
    await client.ask("get", "/mqtt", 400)
    for path in ("/healthz", "/readyz", "/metrics"):
        await client.ask("get", path)


async def ask_for_rooms(client: Client) -> None:
    rooms = await client.ask("get", "/api/rooms")
    sessions = [session for room in rooms.values() for session in room["sessions"]]
    assert {session["role"] for session in sessions} == {"pub", "view"}
    assert any(slot["source"] for session in sessions for slot in session["receives"])
    snapshot = "/api/rooms/{room}/snapshot.jpg"
    assert (await client.ask("get", snapshot, room="site")).startswith(b"\xff\xd8")
    await client.ask("get", snapshot, 404, room="yard")
    await client.ask("get", snapshot, 404, room="bridge")


async def ask_for_recordings(client: Client) -> None:
    async def listed() -> Any:
        found = await client.ask("get", "/api/recordings", query="room=site/gate&peer=cam1")
        return found["segments"] and found

    (overview,) = (await client.ask("get", "/api/recordings", query="room=site"))["recordings"]
    while not (listing := await listed()):
        await asyncio.sleep(0.1)
    (segment,) = listing["segments"]
    name = segment["url"].removeprefix("api/recordings/media/")
    camera = "room=site/gate&peer=cam1"
    span = f"start={quote(overview['start'])}&end={quote(segment['end'])}"
    await client.ask("get", "/api/recordings/media/{name}", name=name)
    await client.ask("get", "/api/recordings/thumbnail", query=f"{camera}&at={quote(segment['start'])}")
    await client.ask("get", "/api/recordings/hls/{room}/{peer}.m3u8", room="site/gate", peer="cam1", query=span)
    await client.ask("get", "/api/recordings/export", query=f"{camera}&{span}")
    await client.ask("put", "/api/recordings/protected/{name}", 204, name=name)
    await client.ask("delete", "/api/recordings/protected/{name}", 204, name=name)
    await ask_for_what_there_is_not(client, camera)


async def ask_for_what_there_is_not(client: Client, camera: str) -> None:
    long_ago = "start=2001-01-01T00:00:00Z&end=2001-01-01T00:01:00Z"
    await client.ask("get", "/api/recordings", 400, query="peer=cam1")
    await client.ask("get", "/api/recordings", 404, query="room=yard&peer=cam1")
    await client.ask("get", "/api/recordings/media/{name}", 404, name="site/gate/none.mp4")
    await client.ask("get", "/api/recordings/thumbnail", 400, query=camera)
    await client.ask("get", "/api/recordings/thumbnail", 404, query=f"{camera}&at=2001-01-01T00:00:00Z")
    await client.ask("get", "/api/recordings/export", 400, query=camera)
    await client.ask("get", "/api/recordings/export", 404, query=f"{camera}&{long_ago}")
    await client.ask("get", "/api/recordings/hls/{room}/{peer}.m3u8", 400, room="site/gate", peer="cam1")
    await client.ask("get", "/api/recordings/hls/{room}/{peer}.m3u8", 404, room="a", peer="b", query=long_ago)
    await client.ask("put", "/api/recordings/protected/{name}", 404, name="site/gate/none.mp4")


@pytest.mark.parametrize("name", OPENAPI.content["components"]["schemas"])
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(OPENAPI.content["components"]["schemas"][name])
