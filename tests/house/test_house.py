"""The walls of the house: who may import whom, and who may know what."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "sfu").rglob("*.py"), *(ROOT / "recorder").rglob("*.py")])

# What each part may import of sfu. A part may always import itself.
MAY = {
    "sfu.signaling": set(),
    "sfu.rtc": set(),
    "sfu.media": {"sfu.rtc"},
    "sfu.rooms": {"sfu.media", "sfu.rtc", "sfu.signaling"},
    "sfu.peers": {"sfu.media", "sfu.rtc", "sfu.signaling"},
    "sfu.http": {"sfu.signaling", "recorder"},
    "sfu.settings": set(),
    "sfu.metrics": {"sfu.rooms", "sfu.media", "sfu.rtc", "sfu.signaling"},
    "sfu.bridge": {"sfu.signaling"},
    "sfu.service": {
        "sfu.bridge",
        "sfu.http",
        "sfu.metrics",
        "sfu.rooms",
        "sfu.media",
        "sfu.rtc",
        "sfu.signaling",
        "sfu.settings",
        "recorder",
    },
    "sfu.demo": {"sfu.service", "sfu.peers", "sfu.rtc", "sfu.signaling", "sfu.settings"},
    "sfu.running": set(),
    "sfu.cli": {"sfu.service", "sfu.demo", "sfu.peers", "sfu.running", "sfu.signaling", "sfu.settings"},
    "sfu.__main__": {"sfu.cli"},
    "recorder": {
        "sfu.media",
        "sfu.signaling",
        "sfu.rtc.codec",
    },  # codecs are values
    # on a machine of its own the recorder is a client of the server like any other
    "recorder.remote": {"recorder", "sfu.media", "sfu.peers", "sfu.rtc", "sfu.signaling"},
    "recorder.serve": {"recorder", "sfu.peers", "sfu.signaling"},
    "recorder.cli": {"recorder", "sfu.running", "sfu.settings", "sfu.signaling"},
}

PURE = [
    "sfu/signaling/topics.py",
    "sfu/signaling/messages.py",
    "sfu/signaling/bodies.py",
    "sfu/signaling/incoming.py",
    "sfu/rooms/room.py",
    "sfu/rooms/slots.py",
    "sfu/rooms/tracks.py",
    "sfu/rooms/limits.py",
    "sfu/rooms/bitrates.py",
    "sfu/rooms/cameras.py",
    "sfu/rooms/figures.py",
    "sfu/media/rtp.py",
    "sfu/media/rtcp.py",
    "sfu/media/codecs.py",
    "sfu/media/vp8.py",
    "sfu/media/sizes.py",
    "sfu/media/keyframes.py",
    "sfu/media/history.py",
    "sfu/media/gaps.py",
    "sfu/media/arrivals.py",
    "sfu/media/transport_feedback.py",
    "sfu/media/rtx.py",
    "sfu/media/retransmission.py",
    "sfu/media/feedback.py",
    "sfu/media/rates.py",
    "sfu/media/bandwidth.py",
    "sfu/media/layers.py",
    "sfu/media/demux.py",
    "sfu/media/group.py",
    "sfu/media/consumer.py",
    "sfu/media/uplink.py",
    "sfu/media/track.py",
    "sfu/media/stretch.py",
    "sfu/media/producer.py",
    "sfu/rtc/codec.py",
    "sfu/rtc/description.py",
    "sfu/rtc/dialects.py",
    "sfu/rtc/sdp.py",
    "sfu/rtc/writing.py",
    "sfu/rtc/negotiation.py",
    "sfu/rtc/stun.py",
    "sfu/rtc/candidates.py",
    "recorder/actions.py",
    "recorder/clocks.py",
    "recorder/depacketize/__init__.py",
    "recorder/depacketize/audio.py",
    "recorder/depacketize/av1.py",
    "recorder/depacketize/bits.py",
    "recorder/depacketize/frame.py",
    "recorder/depacketize/h26x.py",
    "recorder/depacketize/sps.py",
    "recorder/depacketize/vpx.py",
    "recorder/placement.py",
    "recorder/preroll.py",
    "recorder/recording.py",
    "recorder/timeline.py",
    "recorder/units.py",
    "recorder/assembly.py",
    "recorder/duties.py",
    "recorder/reorder.py",
    "recorder/segments.py",
    "recorder/terms.py",
    "sfu/peers/load/limit.py",
    "sfu/peers/load/plan.py",
    "sfu/peers/load/report.py",
    "sfu/peers/load/require.py",
    "sfu/peers/load/results.py",
    "sfu/peers/load/spread.py",
    "sfu/peers/load/tally.py",
    "recorder/fragments.py",
    "recorder/hls.py",
    "recorder/layout.py",
    "recorder/listing.py",
    "recorder/mp4.py",
    "recorder/webm.py",
    "recorder/opus.py",
    "recorder/writer.py",
]
IMPURE_MODULES = {"asyncio", "time", "random", "secrets", "logging", "socket", "threading", "datetime", "os"}

ONLY = {
    "aiomqtt": {"sfu/signaling/mqtt.py"},
    "paho": {"sfu/signaling/mqtt.py"},
    "iotcore": {"sfu/signaling/broker.py"},
    "aiohttp": {
        "sfu/http/server.py",
        "sfu/http/proxy.py",
        "sfu/http/headers.py",
        "sfu/http/assets.py",
        "sfu/http/answers.py",
        "sfu/http/recordings.py",
        "sfu/http/snapshots.py",
    },
    "cffi": {"sfu/rtc/egress.py", "sfu/rtc/ingress.py", "sfu/rtc/intake.py"},
    "prometheus_client": {"sfu/metrics.py"},
    "pygal": {"sfu/peers/load/report.py"},
    "rich": {"sfu/peers/load/progress.py", "sfu/peers/load/table.py", "recorder/cli.py"},
}


def _part(module: str) -> str:
    return next((part for part in sorted(MAY, key=len, reverse=True) if f"{module}.".startswith(f"{part}.")), module)


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_down(path: Path) -> None:
    part = _part(_module(path))
    if part == "sfu":
        return
    for name in _imports(path):
        if name.startswith(("sfu.", "recorder")):
            allowed = any(f"{name}.".startswith(f"{may}.") for may in {part, *MAY[part]})
            assert allowed, f"{path} imports {name}"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_world(name: str) -> None:
    roots = {module.split(".")[0] for module in _imports(ROOT / name)}
    assert not roots & IMPURE_MODULES


@pytest.mark.parametrize("library", ONLY)
def test_each_library_has_one_door(library: str) -> None:
    users = {str(p.relative_to(ROOT)) for p in FILES if any(m.split(".")[0] == library for m in _imports(p))}
    assert users <= ONLY[library]


def test_private_names_of_aiortc_and_aioice_stay_in_two_files() -> None:
    """Anything of theirs that begins with an underscore, imported or reached through an attribute."""
    doors = {"sfu/rtc/ice.py", "sfu/rtc/transport.py"}
    for path in FILES:
        if str(path.relative_to(ROOT)) in doors:
            continue
        users = {m for m in _imports(path) if m.split(".")[0] in {"aiortc", "aioice"}}
        if not users:
            continue
        assert not [m for m in users if re.search(r"\._", m)], path
        own = {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute) and _foreign(n)}
        assert not own, f"{path}: {own}"


def _foreign(node: ast.Attribute) -> bool:
    """A private attribute of something other than self or cls."""
    private = node.attr.startswith("_") and not node.attr.startswith("__")
    return private and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_says_what_it_owns(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_files_stay_readable() -> None:
    """Mostly under 300 lines; a longer one is a decision, and stands here."""
    decided: dict[str, str] = {}
    long = {str(p.relative_to(ROOT)) for p in FILES if p.read_text().count("\n") > 350}
    assert long <= decided.keys()
