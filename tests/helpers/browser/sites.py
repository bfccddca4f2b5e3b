"""Sites around ours: one of somebody else, and nginx in front of us.

Owns their servers. Never decides what they may do.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.helpers.programs import need
from tests.helpers.waiting import PATIENCE_S

_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location {path} {{
      proxy_pass http://127.0.0.1:{upstream}/;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
  }}
}}
"""


@asynccontextmanager
async def other_site(html: str = "") -> AsyncIterator[int]:
    """Serves one page on a free port, as any name."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


@asynccontextmanager
async def behind_nginx(upstream: int, path: str, folder: Path) -> AsyncIterator[str]:
    """Runs nginx in front of a port; yields the URL of `path` there, below which it serves."""
    program = need("nginx")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, port=port, path=path, upstream=upstream))
    process = await asyncio.create_subprocess_exec(
        program, "-p", str(folder), "-c", str(file), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _listening(port)
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        process.terminate()
        await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
