"""The parts that the console scripts `sfu` and `recorder` share: exit codes, an app with `--version`, secrets, TLS.

Owns these. Never knows a command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from sfu.credentials import HIDDEN, masked, password
from sfu.signaling.broker_url import Tls

FAILED: Final = 1
"""Exit code of a command that did not do its work."""
WRONG_USAGE: Final = 2
"""Exit code for wrong arguments or settings."""

_END_S: Final = 1.0
"""Longest wait, at the end of the process, for threads that wait for a disk or a name server themselves."""

CaFile = Annotated[
    Path | None,
    typer.Option("--ca", envvar="SFU_TLS__CA", help="PEM file with CA certificates to trust instead of the system's"),
]
CertificateFile = Annotated[
    Path | None,
    typer.Option(
        "--cert", envvar="SFU_TLS__CERTIFICATE", help="PEM file with our certificate, if the broker wants one"
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key", envvar="SFU_TLS__KEY", help="PEM file with the key of our certificate")
]


class _Commands(TyperGroup):
    """All commands of an app. An argument that is wrong may have a password, which its error does not show."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            message = getattr(error, "message", None)
            if isinstance(message, str):
                error.message = masked(message)  # type: ignore[attr-defined]  # click's errors have one
            raise


def new_app(name: str, text: str) -> typer.Typer:
    """Makes the app of one console script; `text` is the first line of its `--help`."""
    app = typer.Typer(
        name=name,
        cls=_Commands,
        help=text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback(help=text)
    def _top(
        _version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version")
        ] = False,
    ) -> None:
        """Takes the options that stand before a command."""

    return app


def run_app(app: typer.Typer) -> None:
    """Runs an app as this process. Threads that hang, for example at a network disk, delay its end by a second."""
    code = FAILED
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else FAILED * bool(end.code)
        raise
    finally:
        threading.Thread(target=_end, args=(code,), daemon=True).start()


def _end(code: int) -> None:
    """Ends the process if Python itself waits too long for its threads."""
    time.sleep(_END_S)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def fail(message: str, code: int) -> NoReturn:
    """Prints an error without its passwords and exits with `code`."""
    typer.echo(masked(message), err=True)
    raise typer.Exit(code)


def tls_files(ca: Path | None, certificate: Path | None, key: Path | None) -> Tls:
    """Returns the TLS files for the broker. Exits with an error if one of them cannot be used."""
    tls = Tls(ca, certificate, key)
    try:
        tls.context()
    except OSError as error:
        fail(str(error), WRONG_USAGE)
    return tls


def url_value(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Returns a URL, or what `@FILE` has. Warns of a password on the command line, and hides it from `ps`."""
    return _read(context, parameter, value, password)


def setting_value(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Returns `@FILE` as it is, since settings read the file again when it is needed. Else as `url_value`."""
    return value if value is not None and value.startswith("@") else url_value(context, parameter, value)


def token_option(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Returns a token, or `@FILE` as it is if it can be read, since it is read again for each session.

    Warns of a token on the command line, and hides it from `ps`.
    """
    text = _read(context, parameter, value, lambda token: token)
    return value if text and value is not None and value.startswith("@") else text


def _read(
    context: typer.Context,
    parameter: typer.CallbackParam,
    value: str | None,
    secret_in: Callable[[str], str | None],
) -> str | None:
    if value is None:
        return None
    name = parameter.name or ""
    if value.startswith("@"):
        from sfu.setting_forms import file_text  # noqa: PLC0415  # half of the start of `recorder list`

        try:
            return str(file_text(value))
        except ValueError as error:
            fail(f"{name}: {error}", WRONG_USAGE)
    secret, source = secret_in(value), context.get_parameter_source(name)
    if secret and source is not None and source.name == "COMMANDLINE":
        variable = f"in the variable {parameter.envvar}, or " if parameter.envvar else ""
        take_back(secret, f"the {name}", f"{variable}in a file as @FILE")
    return value


def take_back(secret: str, of: str, better: str) -> None:
    """Hides a secret of the command line, and warns of it; `better`: the place where it belongs."""
    hide_from_process_list(secret)
    text = "has a secret that the list of processes showed to everybody on this machine, and the shell keeps"
    typer.echo(f"warning: {of} {text}: give it {better}", err=True)


def hide_from_process_list(secret: str) -> None:
    """Writes `***` over a secret in the arguments that Linux shows of this process."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end: fields 48 and 49 of proc(5)
        line = Path("/proc/self/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return
    wanted = os.fsencode(secret)
    at = line.find(wanted) if start and end - start == len(line) else -1
    while at >= 0:
        ctypes.memmove(start + at, HIDDEN[:1].encode() * len(wanted), len(wanted))
        at = line.find(wanted, at + len(wanted))


def _show_version(wanted: bool) -> None:
    """Prints the version and exits."""
    if wanted:
        typer.echo(version("mqtt-sfu"))
        raise typer.Exit
