"""The names by which the server lets itself be called, and the pages of other sites: over HTTP, with raw requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from sfu.http.refusals import MAX_NAMES
from sfu.http.server import HttpServer
from tests.helpers.brokers import free_port
from tests.helpers.http import Raw, Start, upgrade
from tests.helpers.programs import need
from tests.helpers.waiting import PATIENCE_S, until

PATHS = ["", "embed/yard", "config.json", "static/none.js", "mqtt", "healthz", "readyz", "metrics", "api/rooms", "none"]


class Notes:
    """Routes of another part: one that is read, and one that changes something."""

    def __init__(self) -> None:
        self.changes = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/notes", self._read), web.put("/api/notes", self._change)]

    async def close(self) -> None:
        """Does nothing: nothing goes on."""

    async def _read(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _change(self, _request: web.Request) -> web.Response:
        self.changes += 1
        return web.Response(status=204)


@pytest.mark.parametrize("path", PATHS)
async def test_a_name_that_is_not_ours_is_refused_everywhere(start: Start, client: ClientSession, path: str) -> None:
    server = await start()
    async with client.get(server.url + path, headers={"Host": "rebound.example:8080"}) as answer:
        assert answer.status == 421
        assert answer.content_type == "text/plain"
        assert "SFU_HOSTS=rebound.example" in await answer.text()
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(host, 200) for host in ("127.0.0.1", "127.0.0.1:8080", "192.0.2.7:1", "[::1]:8080", "[2001:db8::1]")],
        *[(host, 200) for host in ("localhost", "LOCALHOST:8080", "localhost.", "cameras.localhost:8080")],
        *[(host, 200) for host in ("cameras.example", "Cameras.Example:8443", "home.example:9")],
        *[(host, 421) for host in ("rebound.example", "localhost.example", "127.0.0.1.example", "x.cameras.example")],
        *[(host, 421) for host in ("[::1", "[::1].example", "2130706433", "a b", "'\"<script>")],
        ("", 400),
    ],
)
async def test_addresses_localhost_and_names_of_the_settings_are_ours(start: Start, host: str, status: int) -> None:
    server = await start(hosts=("cameras.example:443",), origins=("https://home.example",))
    raw = await Raw.open(server.port, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert (await raw.head()).startswith(f"HTTP/1.1 {status} ")


async def test_this_machine_s_names_are_ours(start: Start, client: ClientSession) -> None:
    server = await start()
    name = socket.gethostname()
    for host in (name, name.upper(), f"{name.partition('.')[0]}.local:8080"):
        async with client.get(server.url + "healthz", headers={"Host": host}) as answer:
            assert answer.status == 200, host

    full = socket.getfqdn()

    async with asyncio.timeout(PATIENCE_S):  # the server's own question to the resolver takes its time
        while True:
            async with client.get(server.url + "healthz", headers={"Host": full}) as answer:
                if answer.status == 200:
                    break


@pytest.mark.parametrize(("version", "status"), [("1.0", 200), ("1.1", 400)])
async def test_a_request_without_a_host_is_of_http_1_0(start: Start, version: str, status: int) -> None:
    server = await start()
    raw = await Raw.open(server.port, f"GET /healthz HTTP/{version}\r\n\r\n")
    assert f" {status} " in await raw.head()


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("cameras.example", 200),
        ("cameras.example, 10.0.0.7", 200),
        ("rebound.example", 421),
        ("localhost, rebound.example", 421),
    ],
)
async def test_a_proxy_s_word_can_refuse_and_never_admit(start: Start, forwarded: str, status: int) -> None:
    server = await start(hosts=("cameras.example",))
    for host, expected in (("127.0.0.1", status), ("other.example", 421)):
        raw = await Raw.open(
            server.port, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: {forwarded}\r\n\r\n"
        )
        assert f" {expected} " in await raw.head()


async def test_a_refused_name_is_logged_once_and_so_are_few(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = await start()
    for number in [*range(MAX_NAMES + 9), *range(9)]:
        raw = await Raw.open(server.port, f"GET / HTTP/1.1\r\nHost: n{number}.example\r\nConnection: close\r\n\r\n")
        assert " 421 " in await raw.head()
    assert server.counters["foreign_host"] == MAX_NAMES + 18
    assert caplog.text.count("SFU_HOSTS=n") == MAX_NAMES
    assert caplog.text.count("SFU_HOSTS=n3.example") == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *[(path, 200) for path in ("", "embed/yard", "static/app.js", "healthz")],
        *[(path, 403) for path in ("api/rooms", "api/notes", "config.json", "metrics", "none")],
    ],
)
async def test_a_page_of_another_site_may_link_and_frame_and_nothing_else(
    start: Start, client: ClientSession, path: str, status: int
) -> None:
    server = await start(parts=[Notes()])
    for site in ("same-origin", "same-site", "none", "cross-site"):
        async with client.get(server.url + path, headers={"Sec-Fetch-Site": site}) as answer:
            assert answer.status == (status if site == "cross-site" else 404 if path == "none" else 200), site
    assert server.counters["cross_site"] == (status == 403)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 204),
        ({"Origin": "http://127.0.0.1:{port}"}, 204),
        ({"Origin": "https://cameras.example:8443"}, 204),
        ({"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "same-origin"}, 204),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_only_our_own_page_and_programs_change_things(
    start: Start, client: ClientSession, headers: dict[str, str], status: int
) -> None:
    notes = Notes()
    server = await start(parts=[notes], hosts=("cameras.example",))
    filled = {name: value.format(port=server.port) for name, value in headers.items()}
    async with client.put(server.url + "api/notes", headers=filled) as answer:
        assert answer.status == status
    assert notes.changes == (status == 204)


@contextlib.asynccontextmanager
async def nginx(directory: Path, server: HttpServer) -> AsyncIterator[int]:
    """Runs nginx before the server, as most people first write it; yields its port."""
    program = need("nginx")
    port = free_port()
    (directory / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/errors; events {{}}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{\n"
        f"proxy_pass http://127.0.0.1:{server.port}; proxy_http_version 1.1;\n"
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }\n"
    )
    process = subprocess.Popen(
        [program, "-e", str(directory / "errors"), "-c", str(directory / "nginx.conf")], cwd=directory
    )
    try:
        await until(lambda: _listens(port))
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.parametrize(
    ("settings", "more", "status"),
    [
        ({}, (), 403),
        ({"hosts": ("cameras.example",)}, (), 101),
        ({"origins": ("https://cameras.example",)}, (), 101),
        ({}, ("Sec-Fetch-Site: same-origin",), 101),
    ],
)
async def test_behind_nginx_without_a_host_line_the_log_says_what_helps(
    start: Start,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, tuple[str, ...]],
    more: tuple[str, ...],
    status: int,
) -> None:
    server = await start(**settings)
    async with nginx(tmp_path, server) as port:
        for _ in range(2):
            asked = upgrade(port, "Origin: https://cameras.example", *more, host="cameras.example")
            raw = await Raw.open(port, asked)
            assert f" {status} " in await raw.head()
            raw.close()
    refused = status == 403
    assert server.counters["foreign_origin"] == 2 * refused
    assert caplog.text.count("pass the Host header, or set SFU_HOSTS") == refused
