"""The command line of `sfu`.

Owns the options, their help and the exit codes: 0 done, 1 failed, 2 wrong usage or settings. Never does the work.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sfu import settings as settings_module
from sfu.commands import acl as access_acl
from sfu.commands import tokens as access_tokens
from sfu.commands import users as access_users
from sfu.commands.command_line import (
    FAILED,
    WRONG_USAGE,
    CaFile,
    CertificateFile,
    KeyFile,
    fail,
    new_app,
    run_app,
    setting_value,
    take_back,
    tls_files,
    token_option,
    url_value,
)
from sfu.commands.command_tokens import load_token_source, token_source
from sfu.credentials import masked
from sfu.runner import run_until_signal
from sfu.settings import Settings, SettingsError
from sfu.signaling.broker_url import BrokerUrl
from sfu.signaling.embedded_login import with_kept_login
from sfu.units import parse_bit_rate
from sfu.wiring.link import LINK_NOTE, link_from_elsewhere, printed_link

app = new_app("sfu", "Turn any MQTT broker into a camera network.")


Broker = Annotated[
    str,
    typer.Option(
        "--broker",
        envvar="SFU_BROKER",
        callback=url_value,
        help="URL of the broker: mqtt://, mqtts://, ws:// or wss://, with login if needed; @FILE to read it from",
    ),
]
Base = Annotated[str, typer.Option("--base", envvar="SFU_BASE", help="first level or levels of all topics")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="SFU_TOKEN",
        callback=token_option,
        help="token (`sfu token` makes one); @FILE to read it from",
    ),
]
DEFAULT_BROKER: Final = "mqtt://127.0.0.1:1883"


def _settings_help() -> str:
    rows = (
        "  ".join((name, f"(default {default})" if default else "", text))
        for name, default, text in settings_module.describe()
    )
    return "Settings, as environment variables (in TOML: lower case, with a table for each `__`):\n\n" + "\n\n".join(
        rows
    )


@app.command(epilog=_settings_help())
def serve(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings")] = None,
    broker: Annotated[
        str | None, typer.Option(callback=setting_value, help="URL of the broker, or embedded; overrides SFU_BROKER")
    ] = None,
    base: Annotated[str | None, typer.Option(help="first level or levels of all topics; overrides SFU_BASE")] = None,
    http: Annotated[str | None, typer.Option(help="host:port of the page and the API; overrides SFU_HTTP")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="any other setting, e.g. --set media.port=7000; may be repeated")
    ] = None,
) -> None:
    """Runs the server: signalling on the broker, media on one UDP port, the page on HTTP."""
    from sfu.service import Service

    chosen: dict[str, Any] = {"broker": broker, "base": base, "http": http}
    for text in option or []:
        name, equals, value = text.partition("=")
        if not equals:
            fail(f"--set {text}: write name=value, e.g. --set media.port=7000", WRONG_USAGE)
        if name.endswith("password") and value:
            take_back(value, name, f"in the variable {settings_module.variable(name)}, or in /run/secrets")
        chosen[name] = value
    chosen = {name: value for name, value in chosen.items() if value is not None}
    loaded = _load(config, chosen)

    async def run(stop: asyncio.Event) -> int:
        again = functools.partial(settings_module.load, config=config, command_line=chosen)
        async with Service(loaded, again) as service:
            page = service.http.url if service.http else "none"
            if service.authority is not None and service.http is not None:
                link = printed_link(loaded, service.authority, service.http.url, service.audit)
                typer.echo(f"open {link} {LINK_NOTE}")
                if elsewhere := link_from_elsewhere(loaded, link):
                    typer.echo(f"from another machine it is {elsewhere}")
            logging.getLogger("sfu").info(
                "serving %s on %s, media on UDP %d, page %s", loaded.base, service.broker_url, service.port.port, page
            )
            # Frozen, the 80,000 objects made so far are left out of full collections, which would take 50 ms with them.
            gc.collect()
            gc.freeze()
            await service.wait(stop)
        return 0

    _run(run, loaded.log_level)


@app.command()
def demo(
    source: Annotated[
        str | None,
        typer.Option(
            envvar="SFU_SOURCE", callback=url_value, help="file or URL to publish instead of test patterns, or @FILE"
        ),
    ] = None,
    cameras: Annotated[int, typer.Option(min=1, max=16, help="number of cameras")] = 3,
    seconds: Annotated[float | None, typer.Option(min=1, help="end after this many seconds")] = None,
    http: Annotated[str, typer.Option(envvar="SFU_HTTP", help="host:port of the page; port 0 takes a free port")] = (
        "127.0.0.1:8080"
    ),
    *,
    record: Annotated[bool, typer.Option("--record", help="record all cameras into SFU_RECORDING__DIR")] = False,
) -> None:
    """Runs broker, server, cameras and page on this machine, and prints the page's URL when the cameras are live."""
    from sfu.demo import run_demo

    async def run(stop: asyncio.Event) -> int:
        return await run_demo(
            source=source, cameras=cameras, seconds=seconds, http=http, record=record, stop=stop, say=typer.echo
        )

    _run(run, "warning")


@app.command()
def publish(
    room: Annotated[str, typer.Argument(help="room, e.g. frontdoor or site/gate")],
    source: Annotated[
        str,
        typer.Argument(
            envvar="SFU_SOURCE",
            callback=url_value,
            help="anything FFmpeg opens: file, rtsp://camera, device; @FILE to read a URL from",
        ),
    ],
    peer: Annotated[str | None, typer.Option("--id", help="the camera's id in the room; random by default")] = None,
    *,
    loop: Annotated[bool, typer.Option("--loop", help="start the file again at its end")] = False,
    broker: Broker = DEFAULT_BROKER,
    base: Base = "sfu",
    token: Token = None,
    ca: CaFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
) -> None:
    """Publishes a file, RTSP camera or device as a camera in ROOM; H.264 and Opus are not re-encoded."""
    from sfu.clients.publish import publish as run_publish

    url, tls = _url(broker), tls_files(ca, certificate, key)

    async def run(stop: asyncio.Event) -> int:
        return await run_publish(
            room,
            source,
            peer_id=peer,
            loop=loop,
            broker=url,
            base=base,
            token=token_source(token, url, base),
            tls=tls,
            stop=stop,
            report=_say,
        )

    _run(run, "warning")


@app.command()
def view(
    room: Annotated[str, typer.Argument(help="room, e.g. frontdoor or site")],
    seconds: Annotated[float | None, typer.Option(min=1, help="end after this many seconds")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as one JSON object at the end")] = False,
    windows: Annotated[int, typer.Option(min=1, max=16, help="number of cameras to watch at the same time")] = 4,
    broker: Broker = DEFAULT_BROKER,
    base: Base = "sfu",
    token: Token = None,
    ca: CaFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
) -> None:
    """Views ROOM without a screen, and prints loss, rates and latency at the end."""
    from sfu.clients.view import view as run_view

    url, tls = _url(broker), tls_files(ca, certificate, key)

    async def run(stop: asyncio.Event) -> int:
        return await run_view(
            room,
            seconds=seconds,
            as_json=as_json,
            windows=windows,
            broker=url,
            base=base,
            token=token_source(token, url, base),
            tls=tls,
            stop=stop,
            report=_say,
        )

    _run(run, "warning")


@app.command()
def load(
    publishers: Annotated[
        int, typer.Option(min=0, help="number of cameras; 0 to watch the cameras that are in the room")
    ] = 1,
    viewers: Annotated[int, typer.Option(min=1, help="number of viewers; with --find-limit, of the first step")] = 10,
    *,
    rooms: Annotated[int, typer.Option(min=1, help="number of rooms to distribute cameras and viewers over")] = 1,
    room: Annotated[str, typer.Option(help="the room; with several, their common parent")] = "load",
    ramp: Annotated[float, typer.Option(help="cameras and viewers that join per second")] = 50.0,
    bitrate: Annotated[str, typer.Option(help="bit/s of each camera, e.g. 800k or 2.5M")] = "2.5M",
    source: Annotated[str | None, typer.Option(help="send this file's video instead, at its own bitrate")] = None,
    seconds: Annotated[float, typer.Option(help="length of the measurement")] = 10.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file")] = None,
    report: Annotated[Path | None, typer.Option(help="write a page with plots to this HTML file")] = None,
    pid: Annotated[int | None, typer.Option(help="the server's process id, to measure its CPU and memory")] = None,
    find_limit: Annotated[
        bool, typer.Option("--find-limit", help="search for the most viewers that this machine serves well")
    ] = False,
    require: Annotated[
        str | None, typer.Option(help="exit with 1 if not met, e.g. delivered>=0.995,p99<50ms,join_p95<100ms")
    ] = None,
    mqtt_each: Annotated[bool, typer.Option("--mqtt-each", help="open one broker connection for each peer")] = False,
    broker: Broker = DEFAULT_BROKER,
    base: Base = "sfu",
    token: Token = None,
    ca: CaFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
) -> None:
    """Load-tests any server on the broker with synthetic cameras and viewers, and prints the figures."""
    from sfu.loadtest.measure.requirements import parse
    from sfu.loadtest.run import LoadOptions
    from sfu.loadtest.run import load as run_load
    from sfu.loadtest.setup.plan import Plan

    try:
        plan = Plan(publishers, viewers, rooms, room, ramp, _bit_rate(bitrate), seconds)
        requirements = () if require is None else parse(require)
    except ValueError as error:
        fail(str(error), WRONG_USAGE)
    url, tls = _url(broker), tls_files(ca, certificate, key)
    options = LoadOptions(source, pid, find_limit, requirements, json_file, report)

    async def run(stop: asyncio.Event) -> int:
        return await run_load(
            plan,
            options,
            broker=url,
            base=base,
            token=load_token_source(token, url, base),
            tls=tls,
            mqtt_each=mqtt_each,
            stop=stop,
            report=_say_on_stderr,
        )

    _run(run, "warning")


app.command()(access_tokens.token)
app.command()(access_tokens.link)
app.command()(access_acl.acl)
app.add_typer(access_users.app, name="user")


def _say(text: str) -> None:
    typer.echo(masked(text))


def _say_on_stderr(text: str) -> None:
    typer.echo(masked(text), err=True)


def _url(text: str) -> BrokerUrl:
    try:
        return with_kept_login(BrokerUrl.parse(text), settings_module.state_directory())
    except ValueError as error:
        fail(f"--broker: {error}", WRONG_USAGE)


def _bit_rate(text: str) -> int:
    try:
        return parse_bit_rate(text.replace("m", "M"))
    except ValueError as error:
        fail(f"--bitrate {text}: {error}", WRONG_USAGE)


def _load(config: Path | None, command_line: dict[str, Any]) -> Settings:
    try:
        return settings_module.load(config=config, command_line=command_line)
    except SettingsError as error:
        fail(str(error), WRONG_USAGE)


def _run(work: Callable[[asyncio.Event], Awaitable[int]], log_level: str) -> None:
    try:
        code = run_until_signal(work, log_level)
    except SettingsError as error:
        fail(str(error), WRONG_USAGE)
    except OSError as error:
        fail(str(error), FAILED)
    raise typer.Exit(code)


def main() -> None:
    """Runs the console script `sfu`."""
    run_app(app)
