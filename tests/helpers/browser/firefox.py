"""Firefox by what it speaks itself, WebDriver BiDi (W3C): Playwright drives no Firefox but its own.

Owns the process, its profile and its one page.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.helpers.programs import need
from tests.helpers.waiting import PATIENCE_S

PREFERENCES = {
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "media.autoplay.default": 0,
    "media.gmp-manager.updateEnabled": False,  # no plug-in for H.264 from far away
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "remote.active-protocols": 1,  # BiDi alone
}
LISTENING = b"WebDriver BiDi listening on "


class FirefoxPage:
    """As much of Playwright's `Page` as `tests.helpers.browser.pages` needs to look at a wall."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""

    async def open(self) -> None:
        """The session, and the tab that is there."""
        await self._do("session.new", capabilities={})
        tree = await self._do("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]

    async def goto(self, url: str) -> None:
        await self._do("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str, argument: object = None) -> Any:
        """Returns the value of a JavaScript expression; functions are called and promises awaited."""
        call = f"typeof it === 'function' ? it({json.dumps(argument)}) : it"
        script = f"(async () => {{ const it = ({expression}); return JSON.stringify(await ({call})) ?? 'null'; }})()"
        target = {"context": self._context}
        done = await self._do("script.evaluate", expression=script, target=target, awaitPromise=True)
        assert done["type"] == "success", f"{expression}: {done['exceptionDetails']['text']}"
        return json.loads(done["result"]["value"])

    async def _do(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(2 * PATIENCE_S):
            while (said := await self._socket.receive_json()).get("id") != number:
                pass  # an event, which nobody asked for
        assert said["type"] == "success", f"{method}: {said}"
        result: dict[str, Any] = said["result"]
        return result


@contextlib.asynccontextmanager
async def firefox(profile: Path) -> AsyncIterator[FirefoxPage]:
    """A page of a fresh Firefox, which sees 127.0.0.1 and has fake cameras; skips where it is not installed."""
    program = need("firefox-esr")
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        program,
        *("--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", str(profile)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
    )
    assert process.stderr is not None
    errors = process.stderr
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            while LISTENING not in (line := await errors.readline()):
                assert line, "it ended"
        address = line.split()[-1].decode()
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}/session", max_msg_size=0) as ws:
            drain = asyncio.create_task(errors.read())
            page = FirefoxPage(ws)
            await page.open()
            yield page
            drain.cancel()
    finally:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 10)
        if process.returncode is None:
            process.kill()
            await process.wait()
