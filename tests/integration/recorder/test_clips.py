"""Clips as downloads: slow readers, full disks, and readers that go away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import ClientSession
from yarl import URL

from recorder.playback.clip_rules import ClipRules
from recorder.store.directory import Store
from recorder.store.scratch import SCRATCH, Scratch
from recorder.upkeep.cleaner import Cleaner, Policy
from sfu.units import rfc3339
from tests.helpers.recordings import START_US, Unit, record
from tests.helpers.recordings_server import recordings_server
from tests.helpers.waiting import PATIENCE_S, until

SECOND = 1_000_000
FRAMES = 16
FRAME_BYTES = 2_000_000
"""A clip that no socket buffer holds."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 32 MB, of nothing that decodes."""
    store = Store(tmp_path_factory.mktemp("large"))
    frame = bytes([0x10, 0, 0, 0x9D, 0x01, 0x2A, 64, 0, 64, 0]) + bytes(FRAME_BYTES)
    sequence = [Unit(number * SECOND, "video", frame, True) for number in range(FRAMES)]
    return record(store, codec="VP8", audio=False, sequence=sequence).path


@pytest.fixture
def store(large: Path, tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    segment = store.new("yard", "cam", START_US, ".webm")
    segment.path.parent.mkdir(parents=True)
    shutil.copy2(large, segment.path)
    return store


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
        yield session


def _query(seconds: float = 20) -> dict[str, str]:
    end = rfc3339(START_US + round(seconds * SECOND))
    return {"room": "yard", "peer": "cam", "start": rfc3339(START_US), "end": end}


class SlowReader:
    """A client that asks for a clip and reads nothing but its first bytes."""

    def __init__(self, url: str) -> None:
        address = URL(url)
        assert address.host is not None
        assert address.port is not None
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((address.host, address.port))
        path = f"/api/recordings/export?{urlencode(_query())}"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.authority}\r\n\r\n".encode())

    async def begun(self) -> bytes:
        """Waits for the beginning of the answer."""
        self.socket.settimeout(PATIENCE_S)
        return await asyncio.to_thread(self.socket.recv, 100)

    def rest(self) -> int:
        """Reads to the end of the connection. Returns the number of bytes."""
        count = 0
        with contextlib.suppress(ConnectionError):
            while data := self.socket.recv(1_000_000):
                count += len(data)
        return count

    def close(self) -> None:
        self.socket.close()


def _scratch_files(store: Store) -> list[Path]:
    return list((store.directory / SCRATCH).iterdir())


async def test_slow_readers_cost_nobody_a_clip_and_no_recording(store: Store, client: ClientSession) -> None:
    """As measured on 0.1.0: two readers that read nothing refused everybody's clips, and 80 recordings were deleted."""
    size = sum(segment.path.stat().st_size for segment in store.walk())
    async with recordings_server(store) as url:
        readers = [SlowReader(url), SlowReader(url)]
        for reader in readers:
            assert b"200 OK" in await reader.begun()
        assert len(_scratch_files(store)) == 2
        async with client.get(f"{url}api/recordings/export", params=_query()) as response:
            assert response.status == 200
            assert len(await response.read()) > FRAMES * FRAME_BYTES

        def free_bytes(_: Path) -> int:  # what is left of a disk that the recordings leave 70 MB of
            return 70_000_000 + size - sum(path.stat().st_size for path in store.directory.rglob("*") if path.is_file())

        cleaner = Cleaner(store, Policy(free=60_000_000), free_bytes=free_bytes)
        assert cleaner.clean(START_US) == []
        for reader in readers:
            reader.close()


async def test_a_reader_that_takes_nothing_is_disconnected(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with recordings_server(store, stall_s=1.0) as url:
        reader = SlowReader(url)
        assert b"200 OK" in await reader.begun()
        await until(lambda: _scratch_files(store) == [])
        reader.close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_reader_that_takes_a_little_at_a_time_is_served(store: Store) -> None:
    """It takes less in the time after which an idle reader is disconnected than any buffer on the way holds."""
    async with recordings_server(store, stall_s=3.0) as url:
        reader = SlowReader(url)
        await reader.begun()
        for _ in range(45):
            await asyncio.sleep(0.1)
            assert await asyncio.to_thread(reader.socket.recv, 20_000)
        assert len(_scratch_files(store)) == 1
        reader.close()


async def test_a_reader_that_leaves_leaves_neither_file_nor_traceback(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with recordings_server(store) as url:
        readers = [SlowReader(url) for _ in range(2)]
        await readers[0].begun()
        for reader in readers:  # one while it is sent, the other while it is made or sent
            reader.close()
        await until(lambda: _scratch_files(store) == [])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_full_disk_takes_the_clip_from_its_reader(store: Store) -> None:
    async with recordings_server(store) as url:
        reader = SlowReader(url)
        await reader.begun()
        Scratch(store.directory).drop()
        received = await asyncio.to_thread(reader.rest)
        assert received < FRAMES * FRAME_BYTES
        reader.close()


async def test_a_clip_that_does_not_fit_is_refused(store: Store, client: ClientSession, tmp_path: Path) -> None:
    keep_free = shutil.disk_usage(store.directory).free - FRAMES * FRAME_BYTES // 2
    async with recordings_server(store, clips=ClipRules(keep_free=keep_free)) as url:
        async with client.get(f"{url}api/recordings/export", params=_query()) as response:
            assert response.status == 507
            body = await response.json()
            assert body["error"]["code"] == "no_space"
            assert "ask for a shorter time span" in body["error"]["message"]
        assert _scratch_files(store) == []
        async with client.get(f"{url}api/recordings/export", params={**_query(), "check": "1"}) as response:
            assert response.status == 507
            assert (await response.json())["error"]["code"] == "no_space"


async def test_a_clip_longer_than_the_setting_is_refused(store: Store, client: ClientSession) -> None:
    rules = ClipRules(longest_us=10 * 3600 * SECOND)
    async with (
        recordings_server(store, clips=rules) as url,
        client.get(f"{url}api/recordings/export", params=_query(36_001)) as response,
    ):
        assert response.status == 400
        assert "10 h (SFU_RECORDING__MAX_CLIP)" in (await response.json())["error"]["message"]


async def test_clips_are_made_where_the_setting_says(store: Store, client: ClientSession, tmp_path: Path) -> None:
    async with recordings_server(store, clips=ClipRules(scratch=tmp_path / "other")) as url:
        reader = SlowReader(url)
        await reader.begun()
        assert len(list((tmp_path / "other" / SCRATCH).iterdir())) == 1
        assert not (store.directory / SCRATCH).exists()
        reader.close()
        await until(lambda: not list((tmp_path / "other" / SCRATCH).iterdir()))


async def test_a_page_of_another_site_starts_no_clip(store: Store, client: ClientSession) -> None:
    """An image whose address is that of a clip would be enough."""
    async with recordings_server(store) as url:
        for site, status in (("cross-site", 403), ("same-origin", 200)):
            headers = {"Sec-Fetch-Site": site}
            async with client.get(f"{url}api/recordings/export", params=_query(), headers=headers) as response:
                assert response.status == status
                await response.read()
            assert (store.directory / SCRATCH).exists() == (status == 200)


async def test_a_clip_can_be_asked_for_without_making_it(store: Store, client: ClientSession, tmp_path: Path) -> None:
    async with recordings_server(store, clips=ClipRules(scratch=tmp_path / "not/there/yet")) as url:
        for peer, status in (("cam", 204), ("nobody", 404)):
            query = {**_query(), "peer": peer, "check": "1"}
            async with client.get(f"{url}api/recordings/export", params=query) as response:
                assert response.status == status
    assert not (tmp_path / "not").exists()
    assert not (store.directory / SCRATCH).exists()
