"""The programs in examples/, each run as a reader would run it, against a real server and a real Mosquitto."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sfu.service import Service
from sfu.settings import load
from tests.helpers.brokers import Mosquitto, free_port
from tests.helpers.examples import EXAMPLES, NODE, installed
from tests.helpers.file_camera import camera
from tests.helpers.media import make_file
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.serving import serving
from tests.helpers.waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def example_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples with their npm packages."""
    return installed(tmp_path_factory.mktemp("npm"))


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[asyncio.StreamReader]:
    """Runs a program in examples/; yields what it prints. A fault on its standard error fails the test."""
    program = await asyncio.create_subprocess_exec(
        *command, cwd=EXAMPLES, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert program.stdout is not None
    try:
        yield program.stdout
    finally:
        if program.returncode is None:
            program.terminate()
        await program.wait()


async def line_that(output: asyncio.StreamReader, pattern: str) -> str:
    """Returns the first line that contains the pattern."""
    seen = []
    async with asyncio.timeout(PATIENCE_S):
        while line := (await output.readline()).decode():
            seen.append(line)
            if re.search(pattern, line):
                return line
    raise AssertionError(f"no {pattern!r} in {''.join(seen)}")


async def test_the_python_viewer_sees_a_camera(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    url = mosquitto().url
    source = make_file(tmp_path / "source.mp4", options={"bf": "0", "g": "5"})
    async with (
        serving(url, recording__mode="off"),
        camera(url, "site/gate/pub/cam1", source),
        running(sys.executable, "viewer.py", "site", "--port", str(url.port)) as output,
    ):
        await line_that(output, r"shows \['site/gate/cam1'\]")
        await line_that(output, r"320x180, \d+ frames")


async def test_the_python_camera_is_seen_by_the_python_viewer(mosquitto: Callable[..., Mosquitto]) -> None:
    url = mosquitto().url
    port = ("--port", str(url.port))
    async with (
        serving(url, recording__mode="off"),
        mqtt_client(url) as home,
        running(sys.executable, "camera.py", "porch", "--id", "cam-7", *port) as camera_output,
        running(sys.executable, "viewer.py", "porch", *port) as viewer_output,
    ):
        await line_that(camera_output, "live")
        await until(lambda: home.json("sfu/porch/state").get("live"))
        await line_that(viewer_output, r"shows \['porch/cam-7'\]")
        await line_that(viewer_output, r"640x360, \d+ frames")


async def test_the_python_camera_publishes_a_file(mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    url = mosquitto().url
    source = make_file(tmp_path / "source.mp4", options={"bf": "0", "g": "5"})
    async with (
        serving(url, recording__mode="off"),
        mqtt_client(url) as home,
        running(sys.executable, "camera.py", "porch", "--file", str(source), "--port", str(url.port)),
    ):
        await until(lambda: home.json("sfu/porch/state").get("live"))
        (producer,) = home.json("sfu/porch/state")["producers"]
        await until(lambda: len(home.json("sfu/porch/state")["producers"][0]["tracks"]) == 2)
        assert producer["peer"] == "camera-1"


async def test_the_node_viewer_sees_a_camera(
    mosquitto: Callable[..., Mosquitto], tmp_path: Path, example_packages: Path
) -> None:
    url = mosquitto().url
    source = make_file(tmp_path / "source.mp4", options={"bf": "0", "g": "5"})
    node = (str(NODE), str(example_packages / "viewer.mjs"))
    async with (
        serving(url, recording__mode="off"),
        mqtt_client(url) as home,
        camera(url, "site/gate/pub/cam1", source),
    ):
        await until(lambda: home.json("sfu/site/state").get("live"))
        async with running(*node, "site", f"mqtt://127.0.0.1:{url.port}") as output:
            assert sorted([await line_that(output, " is online") for _ in range(2)]) == [
                "site is online\n",
                "site/gate is online\n",
            ]
            await line_that(output, r"shows \[ 'site/gate/cam1', 'site/gate/cam1' \]")
            await line_that(output, r"video: [1-9]\d* packets, \d+ bytes; audio: [1-9]")


async def test_the_examples_find_the_login_of_the_embedded_broker() -> None:
    port = free_port()
    own = {"embedded_port": port, "http": "127.0.0.1:0", "media.port": 0, "recording.mode": "off"}
    async with (
        Service(load(command_line=own, secrets=Path("/nonexistent"))),
        running(sys.executable, "camera.py", "porch", "--port", str(port)),
        running(sys.executable, "viewer.py", "porch", "--port", str(port)) as viewer_output,
    ):
        await line_that(viewer_output, "shows .*porch/camera-1")
