"""Every route of a server that asks who comes, with good and bad credentials, on a real server."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import jwt
import pytest
from aiohttp import ClientSession

from recorder.api import RecordingsApi
from recorder.playback.queries import Playback
from recorder.store.directory import Store
from sfu import settings
from sfu.access.rights import ROLES, Use
from sfu.http.entry.rules import RULES, Who, rule_of
from sfu.service import Service
from sfu.units import rfc3339
from sfu.wiring.access import make_authority, open_audit
from sfu.wiring.web import make_entry
from tests.helpers.brokers import Mosquitto
from tests.helpers.http import Start
from tests.helpers.recordings import START_US, record
from tests.helpers.serving import serving

SPAN = "start=2026-01-01T00:00:00Z&end=2026-01-01T00:01:00Z"
FILE = "yard/gate/cam/2026-01-01/a.mp4"
NAMED = {
    ("GET", "api/rooms/yard/gate/snapshot.jpg"),
    ("GET", f"api/recordings/media/{FILE}"),
    ("GET", f"api/recordings/hls/yard/gate/cam.m3u8?{SPAN}"),
    ("GET", "api/recordings/thumbnail?room=yard/gate&peer=cam&at=2026-01-01T00:00:00Z"),
    ("GET", f"api/recordings/export?room=yard/gate&peer=cam&{SPAN}"),
    ("GET", "api/recordings?room=yard/gate&peer=cam"),
    ("PUT", f"api/recordings/protected/{FILE}"),
    ("DELETE", f"api/recordings/protected/{FILE}"),
}
"""Requests that name a room."""
GENERAL = {("GET", "config.json"), ("GET", "metrics"), ("GET", "api/rooms"), ("GET", "api/recordings")}


@pytest.fixture
async def service(
    access_on: None, mosquitto: Callable[..., Mosquitto], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    directory = tmp_path_factory.mktemp("recordings")
    async with serving(mosquitto().url, recording__dir=directory) as service:
        yield service


def url(service: Service, path: str) -> str:
    assert service.http is not None
    return service.http.url + path


def token(service: Service, role: str, *rooms: str, use: Use = Use.ACCESS) -> str:
    assert service.authority is not None
    return service.authority.mint("ann", rooms, ROLES[role], lasts_s=600, use=use)[0]


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"bearer {text}"}


def bad_tokens(service: Service) -> dict[str, str]:
    authority = service.authority
    assert authority is not None
    fields = {"aud": "sfu", "sub": "ann", "exp": int(time.time()) + 60, "jti": "j", "room": ["*"], "can": ["admin"]}
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    payload = jwt.encode(fields, authority.keys.current).split(".")[1]
    revoked, claims = authority.mint("ann", ["*"], ROLES["admin"], lasts_s=600)
    authority.revoke(claims)
    return {
        "expired": authority.mint("ann", ["*"], ROLES["admin"], lasts_s=-1)[0],
        "wrong key": jwt.encode(fields, b"k" * 32),
        "alg none": f"{none}.{payload}.",
        "other alg": jwt.encode(fields, authority.keys.current, algorithm="HS384"),
        "revoked": revoked,
        "10 kB": "a" * 10_000,
        "sealed": token(service, "admin", "*", use=Use.SEALED),
        "once": token(service, "admin", "*", use=Use.ONCE),
        "session": token(service, "admin", "*", use=Use.SESSION),
        "media": token(service, "admin", "*", use=Use.MEDIA),
    }


async def statuses(
    client: ClientSession, service: Service, asked: set[tuple[str, str]], headers: dict[str, str]
) -> dict[str, int]:
    found = {}
    for method, path in asked:
        async with client.request(method, url(service, path), headers=headers, allow_redirects=False) as answer:
            found[f"{method} {path}"] = answer.status
    return found


async def test_every_route_has_a_rule(service: Service) -> None:
    assert service.http is not None
    assert {route for route in service.http.routes if rule_of(*route) is None} == set()
    assert {route for route in RULES if route not in service.http.routes} == set()
    public = {pattern for (_, pattern), rule in RULES.items() if rule.who is Who.PUBLIC}
    assert public == {
        "/login", "/logout", "/embed/{room}", "/static/{name}", "/healthz", "/readyz", "/mqtt",
    }  # fmt: skip


async def test_nothing_is_answered_without_good_credentials(service: Service, client: ClientSession) -> None:
    shown: dict[str, dict[str, str]] = {"none": {}}
    shown |= {name: bearer(text) for name, text in bad_tokens(service).items()}
    for name, headers in shown.items():
        found = await statuses(client, service, NAMED | GENERAL | {("GET", "unknown")}, headers)
        assert set(found.values()) == ({401} if name != "10 kB" else {400}), (name, found)


async def test_foreign_rooms_are_as_rooms_that_there_are_not(service: Service, client: ClientSession) -> None:
    for room in ("hall", "yard/gate/inner", "yard/ga"):
        found = await statuses(client, service, NAMED, bearer(token(service, "admin", room)))
        assert set(found.values()) == {404}, (room, found)
    asked = url(service, "api/rooms/{}/snapshot.jpg")
    bodies = set()
    for room in ("yard/gate", "none", "bridge"):
        async with client.get(asked.format(room), headers=bearer(token(service, "admin", "hall"))) as answer:
            bodies.add(await answer.text())
    assert len(bodies) == 1


async def test_a_known_room_asks_for_the_right(service: Service, client: ClientSession) -> None:
    found = await statuses(client, service, NAMED, bearer(token(service, "publish", "yard")))
    assert set(found.values()) == {403}
    found = await statuses(client, service, NAMED, bearer(token(service, "record", "yard")))
    assert set(found.values()) == {404}
    view = await statuses(client, service, NAMED, bearer(token(service, "view", "yard")))
    assert view.pop("GET api/rooms/yard/gate/snapshot.jpg") == 404
    assert set(view.values()) == {403}
    for role, rooms, status in (("record", "*", 403), ("admin", "yard", 403), ("admin", "*", 200)):
        found = await statuses(client, service, {("GET", "metrics")}, bearer(token(service, role, rooms)))
        assert set(found.values()) == {status}


async def test_a_token_of_the_query_opens_media_alone(service: Service, client: ClientSession) -> None:
    for use in (Use.ACCESS, Use.MEDIA):
        text = token(service, "record", "yard", use=use)
        for method, path in NAMED | GENERAL:
            join = "&" if "?" in path else "?"
            async with client.request(method, url(service, f"{path}{join}token={text}")) as answer:
                listed = path.startswith(("api/recordings?", "api/rooms?")) or (method, path) in GENERAL
                assert answer.status == (401 if listed or method != "GET" else 404), path


async def test_a_token_may_be_the_password(service: Service, client: ClientSession) -> None:
    login = base64.b64encode(f"whoever:{token(service, 'view', 'yard')}".encode()).decode()
    async with client.get(url(service, "config.json"), headers={"Authorization": f"Basic {login}"}) as answer:
        config = await answer.json()
    assert (config["access"], config["user"], config["rooms"], config["can"]) == ("on", "ann", ["yard"], ["view"])


async def test_the_wall_sends_to_the_login(service: Service, client: ClientSession) -> None:
    async with client.get(url(service, ""), allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "login")


async def test_nothing_of_a_token_is_told(
    service: Service, client: ClientSession, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    tokens = [token(service, "view", "yard"), *(text for text in bad_tokens(service).values() if len(text) < 2000)]
    told = []
    for text in tokens:
        for path, headers in ((f"api/rooms/hall/snapshot.jpg?token={text}", {}), ("api/recordings", bearer(text))):
            async with client.get(url(service, path), headers=headers) as answer:
                told.append(await answer.text())
        async with client.post(url(service, "login"), json={"token": text}) as answer:
            told.append(await answer.text())
    async with client.get(url(service, "metrics"), headers=bearer(token(service, "admin", "*"))) as answer:
        told.append(await answer.text())
    told += [caplog.text, *capfd.readouterr()]
    assert not [text for text in tokens if text.split(".")[-1] and re.search(re.escape(text), "".join(told))]


async def test_a_playlist_by_a_token_has_urls_that_open_its_files_alone(
    access_on: None, tmp_path: Path, start: Start, client: ClientSession
) -> None:
    store = Store(tmp_path / "library")
    for room in ("yard/gate", "hall"):
        record(store, room=room, start_us=START_US)
    chosen = settings.load(command_line={}, secrets=Path("/nonexistent"))
    authority = make_authority(chosen)
    entry = make_entry(chosen.access, authority, open_audit(chosen))
    http = await start(access=entry, parts=[RecordingsApi(Playback(store))])
    text, claims = authority.mint("ann", ["*"], ROLES["admin"], lasts_s=600)
    span = f"start={rfc3339(START_US)}&end={rfc3339(START_US + 4_000_000)}".replace("+", "%2B")
    lists = {}
    for room in ("yard/gate", "hall"):
        address = f"{http.url}api/recordings/hls/{room}/cam.m3u8?{span}"
        async with client.get(address, headers=bearer(text)) as answer:
            assert "token" not in await answer.text()
        async with client.get(f"{address}&token={text}") as answer:
            found = re.search(r"media/(.*)[?]token=([^\s\"]+)", await answer.text())
        assert found is not None
        lists[room] = found.groups()
    assert text not in str(lists)

    async def status(name: str, proof: str) -> int:
        async with client.get(f"{http.url}api/recordings/media/{name}?token={proof}") as answer:
            if answer.status == 200:
                assert answer.headers["Cache-Control"] == "private, no-cache"
            return answer.status

    name, proof = lists["yard/gate"]
    assert (await status(name, proof), await status(lists["hall"][0], proof)) == (200, 404)
    async with client.get(
        f"{http.url}api/recordings", headers=bearer(authority.mint("b", ["hall"], ROLES["playback"], lasts_s=60)[0])
    ) as answer:
        assert [entry["room"] for entry in (await answer.json())["recordings"]] == ["hall"]
    authority.revoke(claims)
    assert await status(name, proof) == 401
