"""Makes the README's picture of the wall: `python -m tests.benchmarks.wall_picture` writes docs/wall.png.

Four cameras in four rooms, each a view of one drawn driveway, published by `sfu publish`, forwarded by the real server
and shown by the real page.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, ViewportSize, async_playwright

from sfu import settings
from sfu.clients.publish import publish
from sfu.service import Service
from sfu.settings import EMBEDDED
from tests.benchmarks.timeline_picture import scene
from tests.browser.conftest import FLAGS
from tests.helpers.browser.pages import go, until_true
from tests.helpers.programs import need
from tests.helpers.waiting import until

PICTURE: Final = Path(__file__).parents[2] / "docs" / "wall.png"
# room, camera, where the car is (0 far, 1 near, else absent), and how the scene is seen
CAMERAS: Final = (
    ("home/drive", "gate", 0.75, ""),
    ("home/door", "porch", -1.0, "transform: scale(2.6); transform-origin: 17% 62%"),
    ("home/garden", "fence", -1.0, "transform: scale(-1.9, 1.9) translateX(-12%); filter: brightness(1.5)"),
    ("site/yard", "night", 0.35, "transform: scale(1.7); transform-origin: 50% 85%; filter: grayscale(1)"),
)
_SIZE: Final[ViewportSize] = {"width": 1280, "height": 720}
_PAGE: Final[ViewportSize] = {"width": 1280, "height": 786}


async def drawn(browser: Browser, directory: Path) -> list[Path]:
    """Returns a film of one still picture for each camera."""
    page = await browser.new_page(viewport=_SIZE)
    films = []
    for _, name, way, style in CAMERAS:
        await page.set_content(f'<body style="margin:0; overflow:hidden"><div style="{style}">{scene(way)}</div>')
        picture, film = directory / f"{name}.png", directory / f"{name}.mp4"
        await page.screenshot(path=picture)
        encode = ("-t", "4", "-r", "10", "-c:v", "libx264", "-bf", "0", "-g", "10", "-crf", "16", "-pix_fmt", "yuv420p")
        _ffmpeg("-loop", "1", "-i", str(picture), *encode, str(film))
        films.append(film)
    await page.close()
    return films


def _ffmpeg(*arguments: str) -> None:
    subprocess.run([need("ffmpeg"), "-v", "error", "-y", *arguments], check=True)


async def shown(browser: Browser, service: Service, films: list[Path], picture: Path) -> None:
    """Publishes the films as cameras, and takes the picture when the wall shows all of them."""
    stop = asyncio.Event()
    ignore: Callable[[str], None] = lambda _: None  # noqa: E731
    async with asyncio.TaskGroup() as group:
        try:
            for (room, name, _, _), film in zip(CAMERAS, films, strict=True):
                options = {"peer_id": name, "loop": True, "broker": service.broker_url, "stop": stop, "report": ignore}
                group.create_task(publish(room, str(film), **options))  # type: ignore[arg-type]
                await until(functools.partial(_is_live, service, room))  # so that the windows are in this order
            page = await browser.new_page(viewport=_PAGE, color_scheme="dark")
            await go(page, service)
            live_tiles = "__sfu.stats().then((it) => it.filter((tile) => tile.state === 'live').length)"
            await until_true(page, f"{live_tiles}.then((count) => count === {len(CAMERAS)})")
            await asyncio.sleep(3)  # controls fade
            await page.screenshot(path=picture)
        finally:
            stop.set()


def _is_live(service: Service, room: str) -> bool:
    return bool(service.rooms.state(room)["live"])


async def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=need("chromium"), args=list(FLAGS))
            films = await drawn(browser, directory)
            chosen = {
                "broker": EMBEDDED,
                "embedded_port": 0,
                "http": "127.0.0.1:0",
                "media.port": 0,
                "access.mode": "open",
            }
            configuration = settings.load(command_line={**chosen, "recording.dir": str(directory / "recordings")})
            async with Service(configuration) as service:
                await shown(browser, service, films, directory / "wall.png")
            await browser.close()
        palette = "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=sierra2_4a"  # a quarter of the bytes
        _ffmpeg("-i", str(directory / "wall.png"), "-vf", palette, str(target))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=PICTURE, help="the PNG file to write")
    asyncio.run(main(parser.parse_args().path))
