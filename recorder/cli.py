"""The console script `recorder`: lists, exports and repairs recordings, and records on a machine of its own.

Owns the commands, their texts and the exit codes (0 done, 1 failed, 2 wrong usage). Only `serve` connects to a server;
the other commands read the directory of the recordings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from recorder.playback.listing import ListedSegment, Listing, Overview
from recorder.store.directory import Store
from sfu.commands.command_line import (
    FAILED,
    WRONG_USAGE,
    CaFile,
    CertificateFile,
    KeyFile,
    fail,
    new_app,
    run_app,
    tls_files,
    token_option,
    url_value,
)
from sfu.runner import run_until_signal
from sfu.units import parse_moment, rfc3339

app = new_app("recorder", "Finds, exports and repairs recordings.")

Directory = Annotated[
    Path, typer.Option("--dir", envvar="SFU_RECORDING__DIR", help="directory with the recordings", show_default=True)
]
Peer = Annotated[str | None, typer.Option(help="id of the camera; required if the room has several")]
_TIMES: Final = "2026-11-23T07:00:00Z, 07:00 (UTC), -10m or now"
DEFAULT_DIRECTORY: Final = Path("recordings")
_PIPE_WIDTH: Final = 400
"""The width of a table in characters if its reader is not a terminal: no line is wrapped."""


@app.command("list")
def list_recordings(
    room: Annotated[str | None, typer.Argument(help="list this room and its sub-rooms; default: all rooms")] = None,
    peer: Annotated[str | None, typer.Option(help="list only the camera with this id")] = None,
    *,
    since: Annotated[str | None, typer.Option("--from", help=f"list segments and gaps from here: {_TIMES}")] = None,
    until: Annotated[str | None, typer.Option("--to", help="list them up to this time; default: now")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Lists the cameras that were recorded, and when. With --from or --to: each segment, and the gaps between them."""
    from recorder.playback.queries import Playback

    playback = Playback(_store(directory))
    found = [entry for entry in playback.overview(room) if peer in (None, entry.peer)]
    if since is None and until is None:
        _print_json({"recordings": [entry.json() for entry in found]}) if as_json else _print_overview(found)
        return
    since_us, until_us = _span(since, until or "now")
    ends = {entry: until_us if until else max(until_us, entry.end_us) for entry in found}  # a clock may have been ahead
    listings = [playback.listing(entry.room, entry.peer, since_us, ends[entry]) for entry in found]
    recorded = [listing for listing in listings if listing is not None and listing.entries]
    if as_json:
        _print_json({"recordings": [listing.json(lambda entry: _path(directory, entry)) for listing in recorded]})
    else:
        _print_listings(recorded)


@app.command()
def export(
    room: Annotated[str, typer.Argument(help="the camera's room, for example frontdoor or site/gate")],
    peer: Peer = None,
    *,
    since: Annotated[str, typer.Option("--from", help=f"start; the file begins at the key frame before it: {_TIMES}")],
    until: Annotated[str, typer.Option("--to", help="end, in the same forms")],
    output: Annotated[Path, typer.Option("-o", "--output", help="file to write: .mp4, or .webm if the video is VP8")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Copies a time span of a camera into one file that plays anywhere. Nothing is encoded again."""
    from recorder.playback import export as exports
    from recorder.segments.outputs import MuxError
    from recorder.store.index import Index

    store = _store(directory)
    since_us, until_us = _span(since, until)
    wanted = peer if peer is not None else _only_peer(store, room)
    try:
        clip = exports.export(Index(store), room, wanted, since_us=since_us or 0, until_us=until_us, target=output)
    except (exports.ExportError, MuxError, OSError) as error:
        fail(str(error), FAILED)
    typer.echo(str(clip.path))
    for piece in clip.pieces:
        start, end = rfc3339(piece.start_us), rfc3339(piece.start_us + piece.duration_us)
        typer.echo(f"  at {_clock(piece.at_us)}: {start} to {end}", err=True)


@app.command()
def repair(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Repairs recordings after a crash: cuts off unfinished ends, and moves unplayable files to .damaged."""
    from recorder.store.index import Index
    from recorder.upkeep.repair import repair as repaired

    store = _store(directory)
    failed = False
    for done in repaired(store, Index(store)):
        if done.error is not None:
            failed = True
            typer.echo(f"{done.path}: {done.error}", err=True)
            continue
        cut = [f"{done.skipped} bytes of damaged parts are skipped"] if done.skipped else []
        cut += [f"{done.cut} bytes cut off"] if done.cut else []
        aside = [f"saved in {done.aside}" if cut else f"moved to {done.aside}"] if done.aside else []
        typer.echo(f"{done.path}: {', '.join([*cut, *aside])}")
    raise typer.Exit(FAILED if failed else 0)


@app.command()
def serve(
    rooms: Annotated[list[str], typer.Argument(help="rooms to record, each with its sub-rooms")],
    *,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings, as for `sfu serve`")] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            callback=url_value, help="URL of the server's broker: mqtt://, mqtts://, ws:// or wss:// (SFU_BROKER)"
        ),
    ] = None,
    base: Annotated[str | None, typer.Option(help="base topic of the server (SFU_BASE; default: sfu)")] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="directory for the recordings (SFU_RECORDING__DIR; default: recordings)"),
    ] = None,
    segment: Annotated[
        str | None, typer.Option(help="duration of a file (SFU_RECORDING__SEGMENT; default: 10m)")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="SFU_TOKEN", callback=token_option, help="token, or @FILE"),
    ] = None,
    peer_id: Annotated[str | None, typer.Option("--id", help="id of this recorder as a peer; default: random")] = None,
    ca: CaFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="any other setting, for example --set recording.keep=30d")
    ] = None,
) -> None:
    """Records rooms of a server on another machine, as one of their viewers, until it is stopped."""
    from recorder import serve as serving
    from recorder.rules import RecordingConfig
    from sfu import settings
    from sfu.commands.command_tokens import token_source
    from sfu.signaling.broker_url import BrokerUrl
    from sfu.signaling.embedded_login import with_kept_login

    chosen = {"broker": broker, "base": base, "recording.dir": directory, "recording.segment": segment}
    chosen |= {"tls.ca": ca, "tls.certificate": certificate, "tls.key": key}
    chosen |= dict(text.partition("=")[::2] for text in option or [])
    try:
        loaded = settings.load(config=config, command_line={k: v for k, v in chosen.items() if v is not None})
        if loaded.broker == settings.EMBEDDED:
            fail("--broker is missing: give the URL of the server's broker", WRONG_USAGE)
        url = with_kept_login(BrokerUrl.parse(loaded.broker), settings.state_directory(loaded.state))
        where = serving.ServerAddress(
            url,
            loaded.base,
            token_source(token, url, loaded.base, loaded.state),
            peer_id,
            tls_files(loaded.tls.ca, loaded.tls.certificate, loaded.tls.key),
        )
        recording = RecordingConfig.of(loaded.recording)
    except (settings.SettingsError, ValueError) as error:
        fail(str(error), WRONG_USAGE)
    try:
        code = run_until_signal(lambda stop: serving.serve(rooms, where, recording, stop=stop), loaded.log_level)
    except OSError as error:
        fail(str(error), FAILED)
    raise typer.Exit(code)


def _store(directory: Path) -> Store:
    if not directory.is_dir():
        fail(f"there is no directory {directory}: give the right one with --dir", FAILED)
    return Store(directory)


def _only_peer(store: Store, room: str) -> str:
    peers = [peer for found, peer in store.producers(room) if found == room]
    if not peers:
        parent, _, last = room.rpartition("/")
        if (parent, last) in store.producers(parent or None):
            fail(
                f"{last} is a camera in the room {parent}: write `recorder export {parent} --peer {last}`", WRONG_USAGE
            )
        fail(f"nothing of {room} was recorded in {store.directory}; `recorder list` shows what was", FAILED)
    if len(peers) > 1:
        fail(f"--peer is missing: {room} has {', '.join(peers)}", WRONG_USAGE)
    return peers[0]


def _span(since: str | None, until: str) -> tuple[int | None, int]:
    now_us = time.time_ns() // 1000
    try:
        since_us, until_us = None if since is None else parse_moment(since, now_us), parse_moment(until, now_us)
    except ValueError as error:
        fail(str(error), WRONG_USAGE)
    if since_us is not None and until_us <= since_us:
        fail(f"{rfc3339(until_us)} is not after {rfc3339(since_us)}", WRONG_USAGE)
    return since_us, until_us


def _path(directory: Path, entry: ListedSegment) -> dict[str, str]:
    return {"path": str(directory / entry.name)}


def _print_overview(found: Sequence[Overview]) -> None:
    table = _table("room", "peer", "from", "to", "days", "size", "")
    for entry in found:
        mark = "recording" if entry.recording else ""
        start, end = _second(entry.start_us), _second(entry.end_us)
        table.add_row(entry.room, entry.peer, start, end, str(len(entry.days)), _size(entry.bytes), mark)
    _print_table(table)


def _print_listings(listings: Sequence[Listing]) -> None:
    table = _table("room", "peer", "from", "to", "lasts", "size", "")
    for listing in listings:
        rows: list[tuple[int, int, ListedSegment | None]] = [(*edges, None) for edges in listing.gaps]
        rows += [(entry.span.start_us, entry.span.end_us, entry) for entry in listing.entries]
        for start_us, end_us, entry in sorted(rows, key=lambda row: row[0]):
            times = (_second(start_us), _second(end_us), _clock(end_us - start_us))
            rest = ("", "gap") if entry is None else (_size(entry.span.size), _marks(entry))
            table.add_row(listing.room, listing.peer, *times, *rest, style="dim" if entry is None else None)
    _print_table(table)


def _marks(entry: ListedSegment) -> str:
    marks = {"recording": entry.writing, "protected": entry.protected}
    return ", ".join(mark for mark, on in marks.items() if on)


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns[4:6]:
        column.justify = "right"
    for column in table.columns[2:]:
        column.no_wrap = True
    return table


def _print_table(table: Table) -> None:
    """Prints a table. A pipe or file gets whole lines, however long."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    if table.row_count:
        console.print(table)
    else:
        typer.echo("there are no recordings", err=True)


def _print_json(data: object) -> None:
    typer.echo(json.dumps(data, indent=2))


def _size(size: int) -> str:
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _second(at_us: int) -> str:
    return f"{rfc3339(at_us)[:19]}Z"


def _clock(us: int) -> str:
    """Returns a duration as `h:mm:ss`."""
    seconds = us // 1_000_000
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def main() -> None:
    """Runs the console script."""
    run_app(app)
