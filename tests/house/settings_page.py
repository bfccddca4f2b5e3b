"""Writes docs/settings.md from the settings model: `python -m tests.house.settings_page`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from sfu.settings import describe

PAGE: Final = Path(__file__).parents[2] / "docs" / "settings.md"

_TOP: Final = """# Settings

`python -m tests.house.settings_page` writes this page from `sfu/settings.py`; do not edit it by hand.

A value comes from the first of these that has one: the command line (`--set media.port=7000`), the environment
(`SFU_MEDIA__PORT=7000`), a file in `/run/secrets` (its name is the variable's, in any case), the TOML file of
`--config`, the default. A name that does not exist is an error everywhere. `sfu serve --help` prints the same list.

In TOML the names are lower case, and what stands before `__` is a table:

```toml
broker = "mqtt://sfu:secret@broker.lan"
http = "0.0.0.0:8080"

[media]
port = 7882
announce = ["203.0.113.7"]

[recording]
mode = "always"
keep = "30d"
```

- A list: `h264,vp8` or `["h264", "vp8"]`.
- A table: `site/gate=1M,hall=300k-2M`, or JSON.
- A duration: `500ms`, `90s`, `10m`, `1h30m`, `30d`, or a number of seconds.
- A size: `800kB`, `8MB`, `50GB`, or a number of bytes. A bit rate: `800k`, `2.5M`, or a number of bit/s. 1k is 1,000.
"""

_PARTS: Final = {
    "": ("Server", "The broker, the page, and what clients may do."),
    "ACCESS": ("Access", "Who may do what: see [security.md](security.md)."),
    "TLS": ("Certificates", "Towards the broker, for `mqtts://` and `wss://`."),
    "MEDIA": ("Media", "The one UDP port, and what is negotiated on it."),
    "LIMITS": ("Limits", "What one server accepts."),
    "RECORDING": ("Recording", "Which cameras are recorded, where to, and what is kept."),
}


def page() -> str:
    """Returns the text of docs/settings.md."""
    rows: dict[str, list[str]] = {}
    for name, default, meaning in describe():
        part = name.removeprefix("SFU_").partition("__")[0] if "__" in name else ""
        rows.setdefault(part, []).append(f"| `{name}` | {_code(default)} | {_cell(meaning)} |")
    sections = []
    for part, lines in rows.items():
        title, words = _PARTS[part]
        table = "\n".join(("| variable | default | meaning |", "|---|---|---|", *lines))
        sections.append(f"## {title}\n\n{words}\n\n{table}\n")
    return _TOP + "\n" + "\n".join(sections)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    """Returns the text with URL schemes and examples in code, and without what would end a table's cell."""
    return re.sub(r"(\b\w+:(?://|host:port))", r"`\1`", text).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
