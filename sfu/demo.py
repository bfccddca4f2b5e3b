"""`sfu demo`: a broker, a server, cameras and a page on this machine, from one command.

Owns the order of their start. Never takes a short cut: its cameras use MQTT and WebRTC like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sfu import settings
from sfu.clients.publish import publish
from sfu.runner import unless_stopped, wait_for_stop
from sfu.service import Service
from sfu.wiring.link import LINK_NOTE, printed_link

ROOM: Final = "demo"
PATTERN: Final = "pattern"
_LIVE_TIMEOUT_S: Final = 30.0
"""For all cameras to send their first picture."""


async def run_demo(
    *,
    source: str | None,
    cameras: int,
    seconds: float | None,
    http: str,
    record: bool = False,
    stop: asyncio.Event,
    say: Callable[[str], None],
) -> int:
    """Runs until `stop` is set, or for `seconds`. Returns exit code 0, or 1 if a camera is not live within 30 s."""
    chosen = {"http": http, "embedded_port": 0, "media.port": 0, "log_level": "warning", "broker": settings.EMBEDDED}
    if record:
        chosen["recording.mode"] = "always"
    async with Service(settings.load(command_line=chosen)) as service, asyncio.TaskGroup() as group:
        ending = asyncio.Event()
        for number in range(1, cameras + 1):
            camera = publish(
                ROOM,
                source or f"{PATTERN}:{number}",
                peer_id=f"camera-{number}",
                loop=True,
                broker=service.broker_url,
                base=service.settings.base,
                stop=ending,
                report=lambda _: None,
            )
            group.create_task(camera, name=f"camera {number}")
        try:
            live = await unless_stopped(stop, _live(service, cameras))
            if stop.is_set():
                return 0
            if not live:
                say(f"not all cameras are live after {_LIVE_TIMEOUT_S:.0f} s")
                return 1
            say(f"{cameras} camera{'s' if cameras > 1 else ''} live: {_address(service)}")
            say(f"room {ROOM} on {service.broker_url.revealed()}")
            if record:
                say(f"recordings in {service.recordings.store.directory.absolute()}")
            await wait_for_stop(stop, seconds)
        finally:
            ending.set()
    return 0


def _address(service: Service) -> str:
    """Returns the page's address, as a link that logs its reader in where that is needed."""
    if service.http is None:
        return ""
    if service.authority is None:
        return service.http.url
    # Without a file the log is the terminal, on which the link stands anyway.
    audit = service.audit if service.settings.access.audit else None
    link = printed_link(service.settings, service.authority, service.http.url, audit)
    return f"{link} {LINK_NOTE}"


async def _live(service: Service, cameras: int) -> bool:
    def missing() -> bool:
        return len(service.rooms.state(ROOM)["producers"]) < cameras

    try:
        async with asyncio.timeout(_LIVE_TIMEOUT_S):
            while missing():  # noqa: ASYNC110  # rooms publish changes on the broker only
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True
