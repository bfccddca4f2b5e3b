"""The client commands as processes: they keep secrets, and end in time whatever they wait for."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.brokers import Mosquitto, free_port
from tests.helpers.rtsp_camera import RtspCamera
from tests.helpers.server_process import command
from tests.helpers.waiting import until

Start = Callable[..., Mosquitto]
GRACE_S = 5.0


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("way", ["line", "variable", "file"])
async def test_passwords_show_neither_in_the_list_of_processes_nor_in_any_line(
    way: str, mosquitto: Start, tmp_path: Path
) -> None:
    broker, camera = mosquitto(), RtspCamera(sound=None)
    async with camera.on():
        source = camera.url.replace("rtsp://", "rtsp://admin:ca/m@Secret#%@")
        url = str(broker.url).replace("mqtt://", "mqtt://me:broker%20Secret@")
        (tmp_path / "source").write_text(f"{source}\n")
        (tmp_path / "broker").write_text(f"{url}\n")
        arguments, variables = {
            "line": (("publish", "yard", source, "--broker", url), {}),
            "variable": (("publish", "yard"), {"SFU_SOURCE": source, "SFU_BROKER": url}),
            "file": (("publish", "yard", f"@{tmp_path}/source", "--broker", f"@{tmp_path}/broker"), {}),
        }[way]
        async with command(*arguments, **variables) as process:
            await until(lambda: ": H264\n" in process.log)
            assert "Secret" not in process.shown_arguments
            broker.kill()
            await camera.hang_up()
            await until(lambda: "connecting again" in process.log)
            await until(lambda: "connected again" in process.log)
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0
    assert "Secret" not in process.log
    assert "rtsp://admin:***@127.0.0.1" in process.log
    assert process.log.count("warning: ") == (2 if way == "line" else 0)


async def test_a_password_in_a_setting_is_taken_back_too() -> None:
    arguments = ("serve", "--http", "127.0.0.1:0", "--broker", "mqtt://127.0.0.1:1", "--set", "media.port=0")
    async with command(*arguments, "--set", "media.turn_password=Secret") as process:
        await until(lambda: "give it in the variable SFU_MEDIA__TURN_PASSWORD" in process.log)
        assert "Secret" not in process.shown_arguments + process.log
        process.signal(signal.SIGTERM)


def states(mute: int, nobody: int) -> dict[str, tuple[str, tuple[str, ...]]]:
    silent, absent = f"mqtt://127.0.0.1:{mute}", f"mqtt://127.0.0.1:{nobody}"
    return {
        "a camera that does not answer": ("sfu", ("publish", "yard", f"rtsp://127.0.0.1:{mute}/x")),
        "a silent broker": ("sfu", ("publish", "yard", "pattern", "--broker", silent)),
        "no broker": ("sfu", ("publish", "yard", "pattern", "--broker", absent)),
        "a viewer and a silent broker": ("sfu", ("view", "yard", "--broker", silent)),
        "a viewer without a broker": ("sfu", ("view", "yard", "--broker", absent)),
        "load and a silent broker": ("sfu", ("load", "--broker", silent)),
        "load without a broker": ("sfu", ("load", "--broker", absent)),
        "a recorder and a silent broker": ("recorder", ("serve", "yard", "--broker", silent)),
        "a recorder without a broker": ("recorder", ("serve", "yard", "--broker", absent)),
    }


@pytest.mark.parametrize("state", states(0, 0))
async def test_sigterm_ends_each_command_in_time(state: str, silent_port: int, tmp_path: Path) -> None:
    module, arguments = states(silent_port, free_port())[state]
    async with command(*arguments, module=module, SFU_RECORDING__DIR=str(tmp_path)) as process:
        await until(lambda: process.catches_sigterm)
        await asyncio.sleep(0.5)  # into its wait; whatever it does by now, it must end
        loop = asyncio.get_running_loop()
        asked = loop.time()
        process.signal(signal.SIGTERM)
        code = await process.ended()
        assert loop.time() - asked < GRACE_S
        assert "Traceback" not in process.log
        assert code == 0, process.log
