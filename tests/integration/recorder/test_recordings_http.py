"""Recordings as a browser gets them: a real server, real files, and FFmpeg as the player."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp import ClientSession
from yarl import URL

from recorder.playback import clip
from recorder.playback.clip import ClipSpan
from recorder.playback.queries import Playback
from recorder.segments.muxer import Muxer
from recorder.segments.writer import SegmentWriter
from recorder.store.directory import Segment, Store
from recorder.store.index import layout_of
from recorder.store.scratch import SCRATCH
from sfu.units import rfc3339
from tests.helpers.programs import need
from tests.helpers.recordings import START_US, complaints, record, tracks_of, units
from tests.helpers.recordings_server import recordings_server
from tests.helpers.waiting import PATIENCE_S, until

SECOND = 1_000_000
DAY = "2026-03-04"

Start = Callable[..., Awaitable[str]]


def at(seconds: float) -> str:
    """A moment after START_US as the API writes it."""
    return rfc3339(START_US + round(seconds * SECOND))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two segments of 4 s end to end, one after a gap, and one in WebM of another camera."""
    store = Store(tmp_path_factory.mktemp("library"))
    for start in (0, 4, 20):
        record(store, room="site/gate", start_us=START_US + start * SECOND)
    record(store, room="site", peer="web", codec="VP8")
    return store


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Serves a store; gives the server's URL."""
    async with AsyncExitStack() as servers:

        async def begin(store: Store, **wishes: Any) -> str:
            return await servers.enter_async_context(recordings_server(store, **wishes))

        yield begin


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
        yield session


async def get_json(client: ClientSession, url: str, **query: str) -> tuple[int, Any]:
    async with client.get(url, params=query) as response:
        return response.status, await response.json()


async def test_lists_have_the_segments_and_the_gaps(start: Start, client: ClientSession, library: Store) -> None:
    url = await start(library)
    status, body = await get_json(client, url + "api/recordings")
    assert status == 200
    sizes = {segment.path.name: segment.path.stat().st_size for segment in library.walk() if segment.peer == "cam"}
    assert body["recordings"][1] == {
        "room": "site/gate",
        "peer": "cam",
        "days": [DAY],
        "start": at(0),
        "end": at(24.0135),
        "bytes": sum(sizes.values()),
        "recording": False,
    }
    assert body["recordings"][0]["peer"] == "web"
    status, body = await get_json(client, url + "api/recordings", room="site/gate")
    assert [entry["peer"] for entry in body["recordings"]] == ["cam"]
    wanted = {"room": "site/gate", "peer": "cam", "start": at(2), "end": at(30)}
    status, body = await get_json(client, url + "api/recordings", **wanted)
    assert status == 200
    assert {name: body[name] for name in wanted} == wanted
    assert body["segments"][0] == {
        "start": at(0),
        "end": at(4.0135),
        "bytes": sizes["05-06-07.891Z.mp4"],
        "url": f"api/recordings/media/site/gate/cam/{DAY}/05-06-07.891Z.mp4",
        "protected": False,
        "writing": False,
        "type": "video/mp4",
    }
    assert [segment["start"] for segment in body["segments"]] == [at(0), at(4), at(20)]
    assert body["gaps"] == [{"start": at(8.0135), "end": at(20)}, {"start": at(24.0135), "end": at(30)}]
    status, body = await get_json(client, url + "api/recordings", room="site", peer="web")
    assert [segment["type"] for segment in body["segments"]] == ["video/webm"]
    assert body["gaps"] == []


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("", {"peer": "cam"}, 400, "bad_request"),
        ("", {"room": "site/gate", "peer": "cam", "start": "yesterday"}, 400, "bad_request"),
        ("", {"room": "site/gate", "peer": "cam", "start": at(2), "end": at(1)}, 400, "bad_request"),
        ("", {"room": "nowhere", "peer": "cam"}, 404, "room_not_found"),
        ("", {"room": "..", "peer": ".."}, 404, "room_not_found"),
        ("", {"room": "site/gate", "peer": "cam", "start": "9999-12-31T23:59:59-23:59"}, 400, "bad_request"),
        ("", {"room": "site/gate", "peer": "cam", "end": "0001-01-01T00:00:00+23:59"}, 400, "bad_request"),
        ("/thumbnail", {"room": "site/gate", "peer": "cam", "at": "9999-12-31T23:59:59Z"}, 404, "not_found"),
        ("/thumbnail", {"room": "site/gate", "peer": "cam", "at": "0001-01-01T00:00:00Z"}, 404, "not_found"),
        ("/hls/site/gate/cam.m3u8", {}, 400, "bad_request"),
        ("/hls/site/gate/cam.m3u8", {"start": at(0), "end": at(100_000)}, 400, "bad_request"),
        ("/hls/site/gate/cam.m3u8", {"start": at(9), "end": at(19)}, 404, "not_found"),
        ("/hls/site/web.m3u8", {"start": at(0), "end": at(9)}, 404, "not_found"),
        ("/thumbnail", {"room": "site/gate", "peer": "cam"}, 400, "bad_request"),
        ("/thumbnail", {"room": "site/gate", "peer": "cam", "at": at(1), "width": "-1"}, 400, "bad_request"),
        (
            "/thumbnail",
            {"room": "site/gate", "peer": "cam", "at": at(1), "width": "00100" + "9" * 5000},
            400,
            "bad_request",
        ),
        ("/thumbnail", {"room": "site/gate", "peer": "cam", "at": at(12)}, 404, "not_found"),
        ("/export", {"room": "site/gate", "peer": "cam", "start": at(0)}, 400, "bad_request"),
        ("/export", {"peer": "cam", "start": at(0), "end": at(1)}, 400, "bad_request"),
        ("/export", {"room": "site/gate", "peer": "cam", "start": at(9), "end": at(10)}, 404, "not_found"),
    ],
)
async def test_refusals_are_json_with_a_code(
    start: Start, client: ClientSession, library: Store, path: str, query: dict[str, str], status: int, code: str
) -> None:
    url = await start(library)
    found, body = await get_json(client, f"{url}api/recordings{path}", **query)
    assert (found, body["error"]["code"]) == (status, code)
    assert body["error"]["message"]


async def test_media_comes_in_ranges_and_stays(start: Start, client: ClientSession, library: Store) -> None:
    url = await start(library)
    segment = next(segment for segment in library.walk() if segment.room == "site/gate")
    data = segment.path.read_bytes()
    address = f"{url}api/recordings/media/{library.name(segment)}"
    async with client.get(address) as response:
        assert await response.read() == data
        assert response.headers["Cache-Control"] == "private, max-age=31536000, immutable"
        assert response.headers["Content-Type"] == "video/mp4"
    async with client.get(address, headers={"Range": "bytes=100-299"}) as response:
        assert response.status == 206
        assert await response.read() == data[100:300]
    async with client.get(address, headers={"Range": f"bytes={len(data)}-"}) as response:
        assert response.status == 416


@pytest.fixture
def written(tmp_path: Path) -> tuple[Segment, Callable[[int], None], Store]:
    """A segment that is being written, and what writes its units of one second."""
    store = Store(tmp_path / "store")
    segment = store.new("yard", "cam", START_US, ".mp4")
    writer = SegmentWriter(segment.path, Muxer(tracks_of("H264"), start_us=START_US, title=""))

    def write(second: int) -> None:
        for unit in units("H264", seconds=8):
            if second <= unit.pts_us / SECOND < second + 1:
                writer.write(unit.kind, unit.pts_us, unit.data, key=unit.key, now=unit.pts_us / 1e6)

    return segment, write, store


async def test_a_growing_file_is_sent_up_to_its_last_whole_part(
    start: Start, client: ClientSession, written: tuple[Segment, Callable[[int], None], Store]
) -> None:
    segment, write, store = written
    for second in range(3):
        write(second)
    url = await start(store)
    address = f"{url}api/recordings/media/{store.name(segment)}"
    whole = segment.path.read_bytes()
    assert layout_of(segment.path).end == len(whole)
    with segment.path.open("ab") as file:
        file.write(whole[-1000:])  # a part of which some has arrived
    async with client.get(address) as response:
        assert response.status == 200
        assert await response.read() == whole
        assert response.headers["Cache-Control"] == "no-store"
    for asked, expected in (("500-", whole[500:]), ("-70", whole[-70:]), ("5-9", whole[5:10])):
        async with client.get(address, headers={"Range": f"bytes={asked}"}) as response:
            assert response.status == 206
            assert await response.read() == expected
            assert response.headers["Content-Range"].endswith(f"/{len(whole)}")
    async with client.get(address, headers={"Range": f"bytes={len(whole)}-"}) as response:
        assert response.status == 416
    async with client.head(address) as response:
        assert response.content_length == len(whole)
    _, body = await get_json(client, url + "api/recordings", room="yard", peer="cam")
    assert [entry["writing"] for entry in body["segments"]] == [True]
    _, body = await get_json(client, url + "api/recordings")
    assert [entry["recording"] for entry in body["recordings"]] == [True]


async def test_the_playlist_of_a_growing_file_grows(
    start: Start, client: ClientSession, written: tuple[Segment, Callable[[int], None], Store]
) -> None:
    _, write, store = written
    for second in range(4):
        write(second)
    url = await start(store, wall_us=lambda: START_US + 4 * SECOND)
    address = f"{url}api/recordings/hls/yard/cam.m3u8"
    lists = []
    for seconds in ((4, 5, 6), (7,)):
        async with client.get(address, params={"start": at(0), "end": at(60)}) as response:
            lists.append(await response.text())
        for number in seconds:
            write(number)
    earlier, later = lists
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in earlier
    assert later.startswith(earlier)
    assert len(later) > len(earlier)
    assert "ENDLIST" not in later
    async with client.get(address, params={"start": at(0), "end": at(2)}) as response:
        text = await response.text()
    assert text.endswith("#EXT-X-ENDLIST\n")


async def test_ffmpeg_plays_a_span_of_two_files(
    start: Start, client: ClientSession, library: Store, tmp_path: Path
) -> None:
    url = await start(library)
    address = URL(f"{url}api/recordings/hls/site/gate/cam.m3u8").with_query(start=at(1.5), end=at(7.2))
    async with client.get(address) as response:
        text = await response.text()
        assert response.headers["Content-Type"].startswith("application/vnd.apple.mpegurl")
    assert text.count("#EXT-X-MAP") == 2
    assert re.findall("#EXT-X-PROGRAM-DATE-TIME:(.*)", text) == [at(0), at(4)]
    first = next(line for line in text.splitlines() if line and not line.startswith("#"))
    assert urljoin(str(address), first) == f"{url}api/recordings/media/site/gate/cam/{DAY}/05-06-07.891Z.mp4"
    command = [need("ffmpeg"), "-nostdin", "-v", "error", "-i", str(address), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=True)
    assert done.stderr == b""
    assert len(done.stdout) // (320 * 180) == 200


async def test_thumbnails_are_jpegs_of_key_frames(start: Start, client: ClientSession, library: Store) -> None:
    url = await start(library)
    pictures = []
    for seconds in (1.1, 1.9, 2.1):
        query = {"room": "site/gate", "peer": "cam", "at": at(seconds), "width": "160"}
        async with client.get(url + "api/recordings/thumbnail", params=query) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "image/jpeg"
            pictures.append(await response.read())
    assert pictures[0] == pictures[1] != pictures[2]
    assert pictures[0].startswith(b"\xff\xd8\xff")


async def test_many_thumbnails_of_one_client_refuse_nobody_else_his_list(
    start: Start, client: ClientSession, library: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = Playback.thumbnail

    def slow(playback: Playback, room: str, peer: str, at_us: int, width: int | None) -> tuple[bytes, bool] | None:
        go_on.wait(PATIENCE_S)
        return real(playback, room, peer, at_us, width)

    monkeypatch.setattr(Playback, "thumbnail", slow)
    url = await start(library)
    query = {"room": "site/gate", "peer": "cam", "at": at(1), "width": "160"}

    async def thumbnail(session: ClientSession) -> int:
        async with session.get(url + "api/recordings/thumbnail", params=query) as response:
            return response.status

    async def from_address(address: str, count: int) -> list[int]:
        connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
        async with ClientSession(connector=connector) as session:
            return await asyncio.gather(*(thumbnail(session) for _ in range(count)))

    many = asyncio.ensure_future(from_address("127.0.0.2", 70))
    other = asyncio.ensure_future(from_address("127.0.0.3", 1))
    for _ in range(10):
        status, _ = await get_json(client, url + "api/recordings", room="site/gate", peer="cam")
        assert status == 200
    go_on.set()
    assert await other == [200]
    assert set(await many) == {200, 503}


async def test_a_clip_is_one_file_that_leaves_nothing_behind(
    start: Start, client: ClientSession, library: Store, tmp_path: Path
) -> None:
    url = await start(library)
    for room, peer, suffix in (("site/gate", "cam", ".mp4"), ("site", "web", ".webm")):
        query = {"room": room, "peer": peer, "start": at(1), "end": at(3)}
        async with client.get(url + "api/recordings/export", params=query) as response:
            assert response.status == 200
            assert response.headers["Content-Disposition"].endswith(f"{suffix}")
            target = tmp_path / f"clip{suffix}"
            target.write_bytes(await response.read())
        assert complaints(target) == ""
    await until(lambda: not list((library.directory / SCRATCH).iterdir()))


async def test_protection_is_set_and_lifted(start: Start, client: ClientSession, tmp_path: Path) -> None:
    store = Store(tmp_path)
    segment = record(store)
    address = f"{await start(store)}api/recordings/protected/{store.name(segment)}"
    async with client.put(address, headers={"Origin": "http://elsewhere.example"}) as response:
        assert response.status == 403
    assert not segment.protected
    for method, protected in (("PUT", True), ("PUT", True), ("DELETE", False), ("DELETE", False)):
        async with client.request(method, address) as response:
            assert response.status == 204
        assert segment.protected is protected
    async with client.put(address + ".mp4") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.mp4", "%2e%2e/secret.mp4", "..%2fsecret.mp4", "%2fetc%2fpasswd", "//etc/passwd", "a%00b", "%ff"),
        *("yard/cam/2026-03-04/05-06-07.891Z.mp4%00", "yard/cam/2026-03-04/%ed%a0%80", "yard\\cam", "%F0%9F%90%B1/x"),
        f"yard/cam/{DAY}/../{DAY}/05-06-07.891Z.mp4",
        f".damaged/yard/cam/{DAY}/05-06-07.891Z.mp4",
        f"yard/cam/{DAY}/05-06-08.000Z.mp4",  # a symbolic link
        f"linked/cam/{DAY}/05-06-07.891Z.mp4",
        f"yard/cam/{DAY}/.index.json",
        f"yard/cam/{DAY}",
        "x" * 5000,
    ],
)
async def test_only_recordings_can_be_reached(start: Start, tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "store")
    segment = record(store)
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (segment.path.parent / "05-06-08.000Z.mp4").symlink_to(tmp_path / "secret.mp4")
    (store.directory / "linked").symlink_to(store.directory / "yard")
    aside = store.directory / ".damaged" / store.name(segment)
    aside.parent.mkdir(parents=True)
    aside.write_bytes(b"secret")
    url = URL(await start(store))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for method, path in (("GET", "media"), ("PUT", "protected")):
        writer.write(f"{method} /api/recordings/{path}/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        assert head.split()[1] in (b"404", b"400")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
        assert b"secret" not in await reader.readexactly(length)
        if b"400" in head:
            break
    writer.close()
    assert not segment.protected


async def test_a_third_clip_at_once_is_refused_and_may_come_back(
    start: Start, client: ClientSession, library: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    begun: list[ClipSpan] = []
    real = clip.made

    @asynccontextmanager
    async def slow(directory: Path, span: ClipSpan, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        begun.append(span)
        await go_on.wait()
        async with real(directory, span, *args, **kwargs) as made:
            yield made

    monkeypatch.setattr(clip, "made", slow)
    url = await start(library)
    query = {"room": "site/gate", "peer": "cam", "start": at(1), "end": at(3)}

    async def export() -> int:
        async with client.get(url + "api/recordings/export", params=query) as response:
            await response.read()
            return response.status

    running = [asyncio.ensure_future(export()) for _ in range(2)]
    await until(lambda: len(begun) == 2)
    async with client.get(url + "api/recordings/export", params=query) as response:
        assert response.status == 503
        assert response.headers["Retry-After"]
        assert (await response.json())["error"]["code"] == "busy"
    assert (await get_json(client, url + "api/recordings"))[0] == 200
    go_on.set()
    assert await asyncio.gather(*running) == [200, 200]


async def test_a_client_who_leaves_ends_the_making_of_its_clip(
    start: Start, client: ClientSession, library: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is stopped before it can answer; asked to go on, it ends, and takes its file with it."""
    processes: list[asyncio.subprocess.Process] = []
    real = asyncio.create_subprocess_exec

    async def stopped(*args: Any, **kwargs: Any) -> asyncio.subprocess.Process:
        process = await real(*args, **kwargs)
        process.send_signal(signal.SIGSTOP)
        processes.append(process)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", stopped)
    monkeypatch.setattr(clip, "EXIT_TIMEOUT_S", PATIENCE_S)  # it may be slow to begin, but must not be slow to notice
    url = await start(library)
    query = {"room": "site/gate", "peer": "cam", "start": at(1), "end": at(3)}
    task = asyncio.ensure_future(client.get(url + "api/recordings/export", params=query))
    await until(lambda: processes)
    task.cancel()
    await asyncio.sleep(0.5)
    processes[0].send_signal(signal.SIGCONT)
    await until(lambda: processes[0].returncode is not None)
    assert not (library.directory / SCRATCH).exists() or list((library.directory / SCRATCH).iterdir()) == []
    monkeypatch.setattr(asyncio, "create_subprocess_exec", real)
    async with client.get(url + "api/recordings/export", params=query) as response:
        assert response.status == 200


async def test_a_clip_that_one_file_cannot_hold_is_a_conflict(
    start: Start, client: ClientSession, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    record(store)
    record(store, start_us=START_US + 10 * SECOND, codec="VP8")
    query = {"room": "yard", "peer": "cam", "start": at(0), "end": at(20)}
    status, body = await get_json(client, await start(store) + "api/recordings/export", **query)
    assert (status, body["error"]["code"]) == (409, "conflict")
    assert "vp8 with 05-06-17.891Z.webm" in body["error"]["message"]
    assert list((tmp_path / SCRATCH).iterdir()) == []


async def test_without_a_store_there_are_no_recordings(client: ClientSession) -> None:
    async with recordings_server(None) as url, client.get(url + "api/recordings") as response:
        assert response.status == 404
