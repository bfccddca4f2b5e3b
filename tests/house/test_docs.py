"""Every page for readers: its links lead somewhere, and the settings, commands and modules it names exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sfu.settings import CLIENT_VARIABLES, describe
from tests.house import settings_page

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
_CODE = re.compile(r"```.*?```", re.DOTALL)
_WORD_OF_SETTING = re.compile(r"\bSFU_[A-Z]+(?:_+[A-Z]+)*\b")


def _anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_named_exists(page: Path) -> None:
    known = {name for name, _, _ in describe()} | set(CLIENT_VARIABLES)
    named = set(_WORD_OF_SETTING.findall(page.read_text(encoding="utf-8")))
    assert named <= known, f"{page.name} names {named - known}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_run_by_a_command_exists(page: Path) -> None:
    for module in re.findall(r"python -m ((?:tests|sfu|recorder)[\w.]*)", page.read_text(encoding="utf-8")):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), f"{page.name}: {module}"


def test_the_settings_page_is_what_the_model_says() -> None:
    written = settings_page.PAGE.read_text(encoding="utf-8")
    assert written == settings_page.page(), "run `python -m tests.house.settings_page`"


def test_every_class_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[A-Z][a-z]+)+)`", text))
    files = [path for package in ("sfu", "recorder") for path in (ROOT / package).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    known = set(re.findall(r"^class (\w+)", code, re.MULTILINE))
    assert "Participant" in named
    assert named <= known, f"docs/architecture.md names {sorted(named - known)}, which are no classes"


def test_every_folder_of_code_has_a_line_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `((?:sfu|recorder)/[\w/]*)` \|", text, re.MULTILINE))
    folders = {path.parent for package in ("sfu", "recorder") for path in (ROOT / package).rglob("*.py")}
    known = {f"{path.relative_to(ROOT)}/" for path in folders} | {"sfu/http/page/"}
    small = {name for name in known if re.match(r"sfu/media/$|sfu/loadtest/.", name)}  # a line would say nothing
    assert listed == known - small


def test_every_section_of_the_protocol_that_code_cites_exists() -> None:
    headings = re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE)
    files = [
        path
        for folder in ("sfu", "recorder", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".ts"} and "node_modules" not in path.parts
    ]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "CONTRACT" not in text or path == Path(__file__), f"{path}: cite docs/protocol.md and its section"
        for number in re.findall(r"protocol\.md sections? (\d+(?:\.\d+)?)", text):
            assert number in headings, f"{path}: section {number}"


def test_every_dependency_is_named_with_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=;]", dependency)[0] for dependency in project["dependencies"]}
    section = (ROOT / "docs" / "architecture.md").read_text().partition("## Dependencies")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| ([a-z, -]+) \|", section, re.MULTILINE) for name in row.split(", ")}
    assert named - {"package"} == names
