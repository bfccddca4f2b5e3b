"""The parts that the console scripts `sfu` and `recorder` share: exit codes, and an app with `--version`.

Owns these. Never knows a command.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Final

import typer

FAILED: Final = 1
"""Exit code of a command that did not do its work."""
WRONG_USAGE: Final = 2
"""Exit code for wrong arguments or settings."""


def new_app(name: str, text: str) -> typer.Typer:
    """Makes the app of one console script; `text` is the first line of its `--help`."""
    app = typer.Typer(name=name, help=text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    @app.callback(help=text)
    def _top(
        _version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version")
        ] = False,
    ) -> None:
        """Takes the options that stand before a command."""

    return app


def _show_version(wanted: bool) -> None:
    """Prints the version and exits."""
    if wanted:
        typer.echo(version("mqtt-sfu"))
        raise typer.Exit
