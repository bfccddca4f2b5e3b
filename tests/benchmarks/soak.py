"""An hour of bad days in minutes: joins, junk, a broker that dies and a disk that fills, while cameras are recorded.

By hand, as root (it mounts a disk of its own): `python -m tests.benchmarks.soak [--minutes 10] [--joins 10000]`. Prints
the server's memory, descriptors and tasks over time, then each demand that was not met; exits with 1 if there is one.
The server's log is in `soak.log` afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.brokers import Mosquitto, free_port
from tests.helpers.file_camera import camera
from tests.helpers.junk import junk_offer, junk_request
from tests.helpers.media import make_file
from tests.helpers.mqtt_client import mqtt_client
from tests.helpers.peers import watching
from tests.helpers.programs import need
from tests.helpers.recordings import complaints
from tests.helpers.server_process import Process, sfu

BROKER_AWAY_S = 2.0
DISK_FULL_S = 20.0
SAMPLE_S = 5.0
WARM_UP = 0.2
"""Part of the run after which memory, descriptors and tasks must be flat."""
MOST_GROWTH = 1.10
DISK_BYTES = 600_000_000
_REQUESTERS = 4


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is done within `seconds`."""

    seconds: float
    joins: int
    offers: int
    requests: int
    cameras: int
    broker_kills: int
    disk_fills: int


@dataclasses.dataclass(frozen=True)
class Sample:
    """The server's use of the machine at one moment, in bytes and counts."""

    at_s: float
    memory: int
    descriptors: int
    tasks: int


class Done:
    """Counts of what was done so far."""

    def __init__(self) -> None:
        self.joins = 0
        self.failed_joins = 0
        self.offers = 0
        self.requests = 0
        self.broker_kills = 0
        self.disk_fills = 0
        self.statuses: dict[str, int] = {}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())


@contextlib.contextmanager
def disk(directory: Path) -> Iterator[Path]:
    """Mounts a memory disk of `DISK_BYTES`."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def metrics(http_port: int) -> dict[str, float]:
    """Returns the server's metrics by name with labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


class Soak:
    """One server under all the loads of a plan."""

    def __init__(self, plan: Plan, broker: Mosquitto, directory: Path, http_port: int, seed: int) -> None:
        self.done = Done()
        self.samples: list[Sample] = []
        self.seen: set[Path] = set()
        """Every recording that there ever was."""
        self._plan = plan
        self._broker = broker
        self._directory = directory
        self.http_port = http_port
        self._random = random.Random(seed)
        self._began = time.monotonic()

    async def run(self) -> None:
        """Does all that the plan says, side by side; joins may take longer than the plan's time."""
        watch = asyncio.create_task(self._sample())
        numbers = itertools.count(1)
        async with asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(self._join(numbers))
            group.create_task(self._offer_junk())
            for _ in range(_REQUESTERS):
                group.create_task(self._request_junk(self._plan.requests // _REQUESTERS))
            group.create_task(self._kill_broker())
            group.create_task(self._fill_disk())
        watch.cancel()
        await asyncio.wait({watch})

    async def _join(self, numbers: Iterator[int]) -> None:
        while (number := next(numbers)) <= self._plan.joins:
            try:
                async with asyncio.timeout(60), watching(self._broker.url, f"yard/view/eye-{number}"):
                    self.done.joins += 1
            except (AssertionError, TimeoutError):
                self.done.failed_joins += 1
            due = self._began + number * self._plan.seconds / self._plan.joins
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _offer_junk(self) -> None:
        while self.done.offers < self._plan.offers:
            async with mqtt_client(self._broker.url, topics=()) as client:
                for _ in range(20):
                    topic = f"sfu/junk{self._random.randrange(9)}/pub/j{self.done.offers}"
                    self.done.offers += client.link.publish(
                        topic, junk_offer(self._random).encode(errors="surrogatepass")
                    )
                    await asyncio.sleep(self._plan.seconds / self._plan.offers)

    async def _request_junk(self, count: int) -> None:
        for number in range(count):
            await self._request(junk_request(self._random))
            self.done.requests += 1
            due = self._began + number * self._plan.seconds / count
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _request(self, request: bytes) -> None:
        status = "none"
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.http_port)
                with contextlib.closing(writer):
                    writer.write(request)
                    status = (await reader.readline()).decode(errors="replace")[9:12] or "closed"
        self.done.statuses[status] = self.done.statuses.get(status, 0) + 1

    async def _kill_broker(self) -> None:
        for _ in range(self._plan.broker_kills):
            await asyncio.sleep(self._plan.seconds / (self._plan.broker_kills + 1))
            await asyncio.to_thread(self._broker.kill)
            await asyncio.sleep(BROKER_AWAY_S)
            await asyncio.to_thread(self._broker.restart)
            self.done.broker_kills += 1

    async def _fill_disk(self) -> None:
        ballast = self._directory / "ballast"
        for _ in range(self._plan.disk_fills):
            await asyncio.sleep(self._plan.seconds / (self._plan.disk_fills + 1))
            await asyncio.to_thread(_fill, ballast)
            await asyncio.sleep(DISK_FULL_S)
            ballast.unlink()
            self.done.disk_fills += 1

    async def _sample(self) -> None:
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                self.samples.append(await asyncio.to_thread(self.sample))
            self.seen.update(self._directory.rglob("*.mp4"))
            newest = self.samples[-1] if self.samples else None
            sys.stdout.write(f"{newest} | {self.done}\n")
            sys.stdout.flush()
            await asyncio.sleep(SAMPLE_S)

    def sample(self) -> Sample:
        """Returns what the server uses now."""
        now = metrics(self.http_port)
        return Sample(
            at_s=round(time.monotonic() - self._began, 1),
            memory=int(now["process_resident_memory_bytes"]),
            descriptors=int(now["process_open_fds"]),
            tasks=int(now["sfu_tasks"]),
        )


def _fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


def faults(soak: Soak, plan: Plan, log: str, before: Sample, after: Sample) -> list[str]:
    """Returns each demand that was not met, in words."""
    found = []
    if "Traceback" in log:
        found.append(f"{log.count('Traceback')} tracebacks in the log")
    if soak.done.joins < plan.joins:
        found.append(f"{soak.done.failed_joins} of {plan.joins} viewers did not connect")
    if soak.done.statuses.get("500"):
        found.append(f"{soak.done.statuses['500']} answers with status 500")
    if lost := sorted(path for path in soak.seen if not path.exists()):
        found.append(f"{len(lost)} recordings were deleted: {lost[:3]}")
    if broken := [path for path in soak.seen if path.exists() and path.stat().st_size and complaints(path)]:
        found.append(
            f"{len(broken)} recordings do not decode: {[(path, complaints(path)[:200]) for path in broken[:3]]}"
        )
    warm = next(sample for sample in soak.samples if sample.at_s >= WARM_UP * plan.seconds)
    if after.memory > MOST_GROWTH * warm.memory:
        found.append(f"memory grew from {warm.memory} to {after.memory} bytes")
    if after.descriptors > before.descriptors:
        found.append(f"descriptors grew from {before.descriptors} to {after.descriptors}")
    if after.tasks > before.tasks:
        found.append(f"tasks grew from {before.tasks} to {after.tasks}")
    return found


@contextlib.asynccontextmanager
async def cameras(url: BrokerUrl, count: int) -> AsyncIterator[None]:
    """Runs the cameras in a process of their own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __spec__.name, "--only-cameras", str(url), str(count)
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def be_cameras(url: BrokerUrl, count: int) -> None:
    """Publishes `count` cameras of 100 kbit/s until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with tempfile.TemporaryDirectory() as directory:
        source = make_file(Path(directory) / "camera.mp4", seconds=10, rate=10, options={"bf": "0", "b": "60k"})
        async with contextlib.AsyncExitStack() as stack:
            for number in range(count):
                await stack.enter_async_context(camera(url, f"yard/pub/cam-{number}", source))
            await stop.wait()


async def settled(soak: Soak, cameras_count: int) -> Sample:
    """Returns a sample once all cameras are recorded and no viewer is left."""
    async with asyncio.timeout(90):
        while True:
            with contextlib.suppress(OSError):
                now = await asyncio.to_thread(metrics, soak.http_port)
                if now["sfu_recordings"] >= cameras_count and not now['sfu_participants{role="view"}']:
                    return await asyncio.to_thread(soak.sample)
            await asyncio.sleep(0.5)


async def soaked(plan: Plan, seed: int) -> list[str]:
    """Runs the whole plan on a server and a broker of its own, and returns the faults."""
    with tempfile.TemporaryDirectory() as name, disk(Path(name) / "disk") as directory:
        broker = Mosquitto(need("mosquitto"), Path(name))
        http_port = free_port()
        recording = ("mode=always", f"dir={directory}", "segment=20s", "on_full=pause", "keep_free=10MB")
        settings = ["access.mode=open", *(f"recording.{setting}" for setting in recording)]
        options = itertools.chain.from_iterable(("--set", setting) for setting in settings)
        try:
            async with sfu("--broker", str(broker.url), "--http", f"127.0.0.1:{http_port}", *options) as server:
                async with cameras(broker.url, plan.cameras):
                    soak = Soak(plan, broker, directory, http_port, seed)
                    before = await settled(soak, plan.cameras)
                    await soak.run()
                    after = await settled(soak, plan.cameras)
                await _end(server)
                sys.stdout.write(f"before {before}\nafter {after}\n{soak.done}\n{len(soak.seen)} recordings\n")
                Path("soak.log").write_text(server.log)
                return faults(soak, plan, server.log, before, after)
        finally:
            broker.stop()


async def _end(server: Process) -> None:
    server.signal(signal.SIGTERM)
    if code := await server.ended():
        raise SystemExit(f"the server ended with {code}")


def main() -> int:
    """Runs the soak, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--joins", type=int, default=10_000)
    parser.add_argument("--offers", type=int, default=1_000)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--cameras", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only-cameras", nargs=2, metavar=("BROKER", "COUNT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only_cameras:
        asyncio.run(be_cameras(BrokerUrl.parse(given.only_cameras[0]), int(given.only_cameras[1])))
        return 0
    if os.geteuid():
        parser.error("needs root: it mounts a disk of its own")
    plan = Plan(given.minutes * 60, given.joins, given.offers, given.requests, given.cameras, 10, 2)
    found = asyncio.run(soaked(plan, given.seed))
    sys.stdout.write("".join(f"FAULT: {fault}\n" for fault in found) or "no fault\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
