"""The cost of recording for a server: CPU of its threads, lag of the loop, latency; alternately with and without.

By hand, on a machine with nothing else to do: `python -m tests.benchmarks.recording_figures [--cameras 20] [--seconds
15]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from recorder.store.directory import Store
from sfu.signaling.broker_url import BrokerUrl
from tests.helpers.brokers import Mosquitto
from tests.helpers.programs import need
from tests.helpers.serving import serving

_LAG_EVERY = 0.005


async def serve(broker: str, directory: Path, mode: str, cameras: int) -> None:
    """Runs a server that prints, at its end, what it used while all cameras were there."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    options = {"recording__dir": directory, "recording__mode": mode}
    async with serving(BrokerUrl.parse(broker), **options) as service:

        def busy() -> bool:
            flowing = sum(bool(participant.uplink.flowing) for participant in service.server.participants.values())
            return flowing == cameras and service.recordings.active == (cameras if mode == "always" else 0)

        sys.stdout.write("up\n")
        sys.stdout.flush()
        loop, threads, lags = [], [], []
        while not stop.is_set():
            fine, began, process, main = busy(), time.monotonic(), time.process_time(), _main_cpu()
            late = []
            while time.monotonic() < began + 1:
                at = time.monotonic()
                await asyncio.sleep(_LAG_EVERY)
                late.append(time.monotonic() - at - _LAG_EVERY)
            if fine and busy():
                seconds = time.monotonic() - began
                loop.append((_main_cpu() - main) / seconds)
                threads.append((time.process_time() - process) / seconds - loop[-1])
                lags += late
        found = {
            "seconds": len(loop),
            "loop": round(statistics.mean(loop), 4),
            "threads": round(statistics.mean(threads), 4),
            "lag_p50_ms": round(statistics.median(lags) * 1000, 2),
            "lag_p99_ms": round(statistics.quantiles(lags, n=100)[98] * 1000, 2),
            "dropped": sum(service.recordings.drops().values()),
        }
    sys.stdout.write(json.dumps(found) + "\n")


def _main_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_utime + usage.ru_stime


def measure(broker: str, root: Path, mode: str, *, cameras: int, seconds: float) -> dict[str, Any]:
    """One run: shares of a core, milliseconds, bytes a second."""
    directory = root / f"{mode}-{time.monotonic_ns()}"
    server = [sys.executable, "-m", __spec__.name, "--serve", broker, "--directory", str(directory), "--mode", mode]
    server += ["--cameras", str(cameras)]
    figures = root / "load.json"
    load = [sys.executable, "-m", "sfu", "load", "--broker", broker, "--publishers", str(cameras), "--viewers", "20"]
    load += ["--bitrate", "1M", "--seconds", str(seconds), "--json", str(figures)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        done = subprocess.run(load, capture_output=True, text=True, check=False)
        process.send_signal(signal.SIGTERM)
        lines = process.stdout.read().splitlines()
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(lines[-1])
    seen = json.loads(figures.read_text())
    found |= {name: seen["figures"][name] for name in ("delivered", "latency_p50_ms", "latency_p99_ms")}
    found["about"] = seen["about"]["cameras"]
    found["bytes"] = sum(segment.path.stat().st_size for segment in Store(directory).walk())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--serve")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--mode")
    asked = parser.parse_args()
    if asked.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(asked.serve, asked.directory, asked.mode, asked.cameras))
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        broker = Mosquitto(need("mosquitto"), root)
        for _ in range(asked.rounds):
            for mode in ("off", "always"):
                found = measure(str(broker.url), root, mode, cameras=asked.cameras, seconds=asked.seconds)
                sys.stdout.write(f"{mode:7} {json.dumps(found)}\n")
                sys.stdout.flush()
        broker.stop()


if __name__ == "__main__":
    main()
