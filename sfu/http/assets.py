"""The bundled page in `static/`: documents with their addresses filled in, every other file as it is.

Knows which files exist and how long they may be kept; never decides who may see them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

STATIC = Path(__file__).parent / "static"

_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".map": "application/json",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}


class AssetsMissing(RuntimeError):  # noqa: N818 - it names a state of the installation
    """The page was never bundled: the package was put in place without being built."""


class Assets:
    """The bundled page in one folder, read once."""

    def __init__(self, folder: Path = STATIC) -> None:
        """AssetsMissing when `folder` holds no bundle."""
        if not (folder / "app.js").is_file():
            raise AssetsMissing(f"no bundled page in {folder}: install the package with pip, which builds it")
        self._files = {path.name: path for path in folder.iterdir() if path.suffix in _TYPES}
        self._documents = {path.stem: path.read_text("utf-8") for path in folder.glob("*.html")}
        contents = b"".join(self._files[name].read_bytes() for name in sorted(self._files))
        self.version = hashlib.sha256(contents).hexdigest()[:12]

    def document(self, name: str, *, root: str) -> str:
        """The HTML document `name`; `root` is the way from the document's own address to the page's root."""
        return self._documents[name].replace("{root}", root).replace("{version}", self.version)

    def file(self, name: str) -> tuple[Path, str] | None:
        """The file called `name` and its content type, or None: only what was there at the start is ever served."""
        path = self._files.get(name)
        return (path, _TYPES[path.suffix]) if path else None
