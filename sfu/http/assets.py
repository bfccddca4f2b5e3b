"""The bundled page in `static/`: HTML documents with their links filled in, and every other file unchanged.

Owns which files exist and their content types. Never decides who may see them.
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
    """The package was installed without a build, which bundles the page."""


class Assets:
    """The bundled page in one folder, read once."""

    def __init__(self, folder: Path = STATIC) -> None:
        """Reads the bundle. Raises AssetsMissing if `folder` holds none."""
        if not (folder / "app.js").is_file():
            raise AssetsMissing(f"no bundled page in {folder}: install the package with pip, which builds it")
        self._files = {path.name: path for path in folder.iterdir() if path.suffix in _TYPES}
        self._documents = {path.stem: path.read_text("utf-8") for path in folder.glob("*.html")}
        contents = b"".join(self._files[name].read_bytes() for name in sorted(self._files))
        self.version = hashlib.sha256(contents).hexdigest()[:12]

    def has(self, name: str) -> bool:
        """Returns True if there is an HTML document of this name."""
        return name in self._documents

    def document(self, name: str, *, root: str) -> str:
        """Returns the HTML document `name`; `root`: relative URL from the document to the root of the page."""
        return self._documents[name].replace("{root}", root).replace("{version}", self.version)

    def file(self, name: str) -> tuple[Path, str] | None:
        """Returns the file called `name` and its content type; None if it was not there at the start."""
        path = self._files.get(name)
        return (path, _TYPES[path.suffix]) if path else None
