"""Plain English, held by tests: docstrings begin with a verb, constants carry units, and some words are not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for package in ("sfu", "recorder")
    for path in (ROOT / package).rglob("*.py")
    if "page" not in path.relative_to(ROOT).parts
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])

RIDDLES = re.compile(r"(What|Whether|Who|Whose|Whom|Of|Those|That|Says|Told|By how|To whom)\b")
"""First words of a docstring that make the reader guess its subject."""
VERB = re.compile(r"(See `|True (if|while|unless) |Called |[A-Z][a-z-]*s\b)")
"""The start of a function's docstring: a verb ("Returns ..."), or the protocol that it implements ("See `...`")."""
HARD_WORDS = re.compile(
    r"\b(told|untold|lest|of late|dear|oftener|whoever|thereof|is said|said of|to be had|in vain|as it were)\b",
    re.IGNORECASE,
)
UNIT = re.compile(r"_(S|MS|US|BPS|SHARE|RATIO|FACTOR|BYTES|PER_S|PPM|HZ|DB|PERCENT|PIXELS)$")

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _documented(path: Path) -> Iterator[tuple[Documented, str]]:
    """Yields each module, class and function that has a docstring, with it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield node, text


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(each, ast.Name) and "property" in each.id for each in node.decorator_list)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_what_a_thing_is_or_does(path: Path) -> None:
    """A property may be a noun phrase; commands of the command line speak to users (`--help`)."""
    for node, text in _documented(path):
        assert not RIDDLES.match(text), text
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or path.name == "cli.py":
            continue
        if node.name != "__init__" and not _is_property(node):
            assert VERB.match(text), f"{node.name}: {text}"


@pytest.mark.parametrize("path", [*FILES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_that_a_reader_has_to_look_up(path: Path) -> None:
    text = path.read_text()
    if path.suffix == ".py":
        strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        text = "\n".join(value for value in strings if isinstance(value, str))
    assert HARD_WORDS.findall(text) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_constants_that_are_no_counts_carry_their_unit(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        target: ast.expr | None = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id.isupper() and isinstance(value, ast.Constant):
            assert not isinstance(value.value, float) or UNIT.search(target.id), target.id


def test_docstrings_name_modules_that_exist() -> None:
    known = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in FILES}
    packages = {str(Path(name.replace(".", "/")).parent).replace("/", ".") for name in known}
    for path in FILES:
        for _, text in _documented(path):
            for name in re.findall(r"`((?:sfu|recorder)(?:\.[a-z_]+)+)`", text):
                names = {name, name.rpartition(".")[0]}
                assert names & (known | packages), f"{path}: {name}"
