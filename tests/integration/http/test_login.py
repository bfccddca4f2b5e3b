"""Login, logout and sessions on a real server."""

from __future__ import annotations

import base64
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from aiohttp import ClientResponse, ClientSession, DummyCookieJar

from sfu.access.rights import ROLES, Use
from sfu.access.tokens import mint
from sfu.access.users import Users
from sfu.http.door import packets
from sfu.service import Service
from tests.helpers.brokers import Mosquitto
from tests.helpers.http import CONNACK, CONNECT
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S

PASSWORD = "correct horse"


@pytest.fixture
async def service(access_on: None, mosquitto: Callable[..., Mosquitto]) -> AsyncIterator[Service]:
    async with serving(mosquitto().url, recording__mode="off") as service:
        yield service


@pytest.fixture
async def bare() -> AsyncIterator[ClientSession]:
    """A client that keeps no cookies."""
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        yield session


def url(service: Service, path: str) -> str:
    assert service.http is not None
    return service.http.url + path


def add_user(service: Service, name: str) -> None:
    assert service.authority is not None
    users = service.authority.users
    assert isinstance(users, Users)
    users.add(name, PASSWORD, ("view",), ("yard",))


async def login(client: ClientSession, service: Service, **fields: str) -> ClientResponse:
    async with client.post(url(service, "login"), json=fields) as answer:
        await answer.read()
        return answer


def cookie(answer: ClientResponse) -> dict[str, str]:
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


async def config(client: ClientSession, service: Service, headers: dict[str, str]) -> int:
    async with client.get(url(service, "config.json"), headers=headers) as answer:
        return answer.status


async def test_a_user_logs_in_and_out(service: Service, bare: ClientSession) -> None:
    add_user(service, "ben")
    answer = await login(bare, service, user="ben", password=PASSWORD)
    assert (answer.status, await answer.json()) == (200, {"user": "ben"})
    header = answer.headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header
    assert "Path" not in header
    assert "Secure" not in header
    assert await config(bare, service, cookie(answer)) == 200
    async with bare.post(url(service, "logout"), headers=cookie(answer)) as left:
        assert left.status == 204
        assert "sfu=;" in left.headers["Set-Cookie"]
    assert await config(bare, service, cookie(answer)) == 401


async def test_the_cookie_opens_the_door(service: Service, bare: ClientSession) -> None:
    assert service.authority is not None
    link, _ = service.authority.mint("owner", ["*"], ROLES["admin"], lasts_s=900, use=Use.ONCE)
    headers = cookie(await login(bare, service, once=link))
    for shown, answer in ((headers, CONNACK), ({}, packets.NOT_AUTHORIZED)):
        async with bare.ws_connect(url(service, "mqtt"), protocols=("mqtt",), headers=shown) as socket:
            await socket.send_bytes(CONNECT)
            assert await socket.receive_bytes(timeout=PATIENCE_S) == answer


async def test_a_password_opens_the_door_and_programs_may_send_it_each_time(
    service: Service, bare: ClientSession
) -> None:
    add_user(service, "dora")
    basic = {"Authorization": "Basic " + base64.b64encode(f"dora:{PASSWORD}".encode()).decode()}
    assert [await config(bare, service, basic) for _ in range(7)] == [200] * 7
    async with bare.ws_connect(url(service, "mqtt"), protocols=("mqtt",), headers=basic) as socket:
        await socket.send_bytes(CONNECT)
        assert await socket.receive_bytes(timeout=PATIENCE_S) == CONNACK


async def test_a_changed_password_ends_the_session(service: Service, bare: ClientSession) -> None:
    add_user(service, "cleo")
    answer = await login(bare, service, user="cleo", password=PASSWORD)
    assert service.authority is not None
    users = service.authority.users
    assert isinstance(users, Users)
    users.change_password("cleo", "another one")
    assert await config(bare, service, cookie(answer)) == 401


async def test_a_link_opens_one_session(service: Service, bare: ClientSession) -> None:
    assert service.authority is not None
    link, _ = service.authority.mint("owner", ["*"], ROLES["admin"], lasts_s=900, use=Use.ONCE)
    first = await login(bare, service, once=link)
    assert first.status == 200
    assert (await login(bare, service, once=link)).status == 401
    async with bare.get(url(service, "metrics"), headers=cookie(first)) as answer:
        assert answer.status == 200


async def test_a_session_ends_with_its_token_and_not_the_token_with_it(service: Service, bare: ClientSession) -> None:
    assert service.authority is not None
    token, claims = service.authority.mint("ann", ["yard"], ROLES["view"], lasts_s=600)
    one, two = [cookie(await login(bare, service, token=token)) for _ in range(2)]
    async with bare.post(url(service, "logout"), headers=one):
        pass
    assert (await config(bare, service, one), await config(bare, service, two)) == (401, 200)
    service.authority.revoke(claims)
    assert await config(bare, service, two) == 401


async def test_an_old_session_is_renewed_where_its_cookie_reaches_all(service: Service, bare: ClientSession) -> None:
    assert service.authority is not None
    authority = service.authority
    claims = authority.mint("owner", ["*"], ROLES["admin"], lasts_s=3600, use=Use.SESSION)[1]
    old = {"Cookie": "sfu=" + mint(authority.keys.current, replace(claims, since=time.time() - 13 * 3600))}
    async with bare.get(url(service, "config.json"), headers=old) as answer:
        assert await config(bare, service, cookie(answer)) == 200
        renewed = cookie(answer)
    async with bare.get(url(service, "api/rooms"), headers=old) as answer:
        assert "Set-Cookie" not in answer.headers
    async with bare.post(url(service, "logout"), headers=renewed):
        pass
    assert await config(bare, service, old) == 401


async def test_wrong_passwords_are_slowed_down_and_tokens_are_not(service: Service, bare: ClientSession) -> None:
    found = [await login(bare, service, user="nobody", password="wrong") for _ in range(6)]
    assert [answer.status for answer in found] == [401] * 5 + [429]
    assert 0 < int(found[-1].headers["Retry-After"]) <= 60
    assert service.authority is not None
    token = service.authority.mint("ann", ["yard"], ROLES["view"], lasts_s=600)[0]
    assert (await login(bare, service, token=token)).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 5000, b'{"user":"a"}', b'{"token":1}', b'{"token":"' + b"a" * 9000])
async def test_garbage_is_no_login(service: Service, bare: ClientSession, body: bytes) -> None:
    kind = {"Content-Type": "application/json"}
    async with bare.post(url(service, "login"), data=body, headers=kind) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("path", ["login", "logout"])
@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_pages_of_others_log_nobody_in_or_out(
    service: Service, bare: ClientSession, path: str, headers: dict[str, str]
) -> None:
    async with bare.post(url(service, path), json={"token": "x"}, headers=headers) as answer:
        assert answer.status == 403


async def test_the_headers_of_a_proxy_count_from_listed_networks_alone(service: Service, bare: ClientSession) -> None:
    named = {"Remote-User": "admin", "Remote-Groups": "admins"}
    assert await config(bare, service, named) == 401


async def test_a_listed_proxy_names_the_person(
    access_on: None, mosquitto: Callable[..., Mosquitto], bare: ClientSession
) -> None:
    changes = {"access__proxy": "127.0.0.1/32", "access__groups": "admins=admin,family=view+playback"}
    async with serving(mosquitto().url, recording__mode="off", **changes) as service:
        for groups, status in (("none", 401), ("other, family", 200)):
            assert await config(bare, service, {"Remote-User": "a@b.c", "Remote-Groups": groups}) == status
        headers = {"Remote-User": "a@b.c", "Remote-Groups": "family"}
        async with bare.get(url(service, "config.json"), headers=headers) as answer:
            person = await answer.json()
        assert (person["rooms"], person["can"]) == (["*"], ["playback", "view"])
        assert person["user"].startswith("a_b_c-")


def test_an_unknown_name_takes_as_long_as_a_wrong_password(tmp_path_factory: pytest.TempPathFactory) -> None:
    users = Users(tmp_path_factory.mktemp("users"))
    users.add("ann", PASSWORD, ("view",), ("yard",))

    def seconds(name: str) -> float:
        begin = time.thread_time()
        assert users.verify(name, "wrong") is None
        return time.thread_time() - begin

    pairs = [(seconds("ann"), seconds("nobody")) for _ in range(9)]
    known, unknown = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert abs(known - unknown) < 0.1 * known
