"""README and docs: links, options, files and names exist, and the program says the sentences that people search for."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import cli
from rtc.common.errors import ExitCode
from rtc.config.folders import Folders
from rtc.config.load import Config, load_config
from rtc.doctor.plan import ROLES, all_checks
from rtc.testing import limits

ROOT = Path(__file__).parents[1]
AT_THE_ROOT = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
"""Not CHANGELOG.md, which tells of options and names that are gone."""
PAGES = [*(ROOT / name for name in AT_THE_ROOT), *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OTHER_PROGRAMS = (".venv/bin/ruff", "curl", "git", "openssl", "python3", "sleap-nn config", "systemctl", "useradd")
"""Programs that are not ours, whose options are not checked."""
QUOTES = ("it says", "you read", "`turn` says")
"""Headings of the table columns that quote our texts."""
NOT_IN_FILES = {"environment", "sources", "file", "notice", "relay_only"}
"""Fields of `Config` that no file sets: where the settings came from, and an option of the command line."""
CONSTANT = re.compile(r"[A-Z]+(_[A-Z]+)*_(TIME|MAX|MIN|CODES|VERSION)")
END = "\0"
"""Stands between two texts, and in none of them."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")

pages = pytest.mark.parametrize("page", PAGES, ids=NAMES)


README_LINES_MAX = 150
"""A newcomer reads all of it; what people look up belongs to docs/reference.md."""


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX


# -------- links


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        target_page = (page.parent / name).resolve() if name else page
        assert target_page.exists(), target
        assert not anchor or anchor in anchors(target_page), target


@pages
def test_every_page_can_be_found_from_the_index(page: Path) -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert page.name in {"index.md"} or f"{page.name})" in index


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def test_the_pictures_load_nothing_from_elsewhere() -> None:
    pictures = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
    assert len(pictures) > 1
    for picture in pictures:
        addresses = re.findall(r"\b\w+://[^\s\"')]+|@import|<script|<image", picture.read_text())
        assert set(addresses) == {"http://www.w3.org/2000/svg"}, picture.name


# -------- commands and their options


@pages
def test_every_option_is_one_of_ours(page: Path) -> None:
    ours = {option for arguments in commands() for option in commands()[arguments]}
    mentioned = {option for text in prose_and_code(page) for option in OPTION.findall(text)}
    assert mentioned <= ours


@pages
def test_every_command_is_written_with_options_that_it_takes(page: Path) -> None:
    for line in our_calls(page):
        arguments = tuple(line.split())
        name = max((name for name in commands() if arguments[: len(name)] == name), key=len)
        assert name, f"no such command: {line}"
        assert set(OPTION.findall(line)) <= commands()[name], line


def test_every_command_is_described_somewhere() -> None:
    described = {tuple(line.split()) for page in PAGES for line in our_calls(page)}
    leaves = {
        name
        for name in commands()
        if not any(len(other) > len(name) and other[: len(name)] == name for other in commands())
    }
    assert {
        " ".join(name) for name in leaves if not any(arguments[: len(name)] == name for arguments in described)
    } == set()


def test_every_command_is_in_the_table_of_commands() -> None:
    section = (
        (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").partition("## Commands")[2].partition("\n## ")[0]
    )
    named = {" ".join(span.split()[:2]) for span in SPAN.findall(section)}
    assert {f"sleap-rtc {name}" for name in cli.main.commands} <= named


@cache
def commands() -> dict[tuple[str, ...], frozenset[str]]:
    """Return the options of each command, by the words of the command."""
    found: dict[tuple[str, ...], frozenset[str]] = {}

    def walk(command: click.Command, arguments: tuple[str, ...]) -> None:
        options = (name for param in command.params for name in (*param.opts, *param.secondary_opts))
        found[arguments] = frozenset(options) | {"--help"}
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                walk(inner, (*arguments, name))

    walk(cli.main, ())
    return found


def prose_and_code(page: Path) -> Iterator[str]:
    """Yield a page's lines, without those and without code spans that call other programs."""
    for line in page.read_text().replace("\\\n", " ").splitlines():
        if not line.strip().startswith(OTHER_PROGRAMS):
            yield SPAN.sub(lambda span: "" if span[1].startswith(OTHER_PROGRAMS) else span[0], line)


def our_calls(page: Path) -> Iterator[str]:
    """Yield the arguments after `sleap-rtc` in code, up to a comment or the end of the code."""
    text = page.read_text().replace("\\\n", " ")
    code = [*FENCE.findall(text), *SPAN.findall(FENCE.sub("", text))]
    for piece in code:
        yield from re.findall(r"(?:^|[/ ])(?:sleap-rtc|python -m rtc) +([a-z][^#\n|]*)", piece, re.MULTILINE)


# -------- installation


INSTALLS = re.compile(r"\b(?:pip[3x]?|uv tool)\s+install\s+((?:-\S+\s+)*)(\S+)")
"""pip's options, then what it installs."""
OWN_FOLDER = re.compile(r"'?\.(\[[a-z,]+\]')?[`).,;]*")
"""`.` or `'.[worker]'`, and the punctuation of the sentence around it."""


@pages
def test_a_page_installs_sleap_rtc_from_its_own_folder_and_never_by_name(page: Path) -> None:
    assert installed_otherwise(page.read_text()) == []


def test_no_advice_installs_sleap_rtc_by_name() -> None:
    """The project with the name sleap-rtc on PyPI belongs to other people."""
    advice = [text for text in sentences() if INSTALLS.search(text)]
    assert len(advice) > 3
    assert [text for text in advice if installed_otherwise(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "pip install sleap-rtc",
        "`pip install 'sleap-rtc[worker]'`",
        "pip\ninstall --force-reinstall sleap-rtc",
        "pipx install sleap-rtc",
        "pip install …",
    ],
)
def test_an_installation_by_name_would_be_found(text: str) -> None:
    assert installed_otherwise(text)


def installed_otherwise(text: str) -> list[str]:
    """Return what the text tells people to install with pip, except the folder they are in."""
    return [name for _, name in INSTALLS.findall(text) if not OWN_FOLDER.fullmatch(name)]


# -------- tables


def test_the_table_of_exit_codes_is_complete() -> None:
    section = (ROOT / "docs" / "reference.md").read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    assert [int(cells[0]) for cells in rows(section) if cells[0].isdecimal()] == [code.value for code in ExitCode]


def test_the_table_of_settings_is_complete() -> None:
    section = (ROOT / "docs" / "configuration.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    described = {span for cells in rows(section) for span in SPAN.findall(cells[0])}
    assert described == {field.name for field in Config.__attrs_attrs__} - NOT_IN_FILES


def test_the_table_of_the_doctor_s_checks_is_complete(tmp_path: Path) -> None:
    config = load_config(server=None, environ={}, cwd=tmp_path, settings=tmp_path)
    checks = all_checks(
        config,
        ROLES[None],
        cwd=tmp_path,
        user_folders=Folders(tmp_path, tmp_path),
        make_turn_check=lambda _: pytest.fail("none"),
    )
    section = (ROOT / "docs" / "troubleshooting.md").read_text().partition("## Ask the doctor")[2].partition("\n## ")[0]
    table = section.partition("| name |")[2].partition("\n\n")[0]
    assert {span for cells in rows(table) for span in SPAN.findall(cells[0])} == {check.name for check in checks}


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of all tables."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


# -------- files and names


@pages
def test_every_file_and_test_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"(?<!^# )\b(?:rtc|actors|protocol|tests)/[\w/]+\.py\b", text, re.MULTILINE):
        assert (ROOT / name).exists(), name
    named = {name for name in SPAN.findall(FENCE.sub("", text)) if re.fullmatch(r"test_\w+", name)}
    assert named <= names_of_tests()


@cache
def names_of_tests() -> frozenset[str]:
    """Return the names of all tests, and of the files in which they are."""
    files = list((ROOT / "tests").rglob("test_*.py"))
    functions = (name for path in files for name in re.findall(r"\bdef (test_\w+)\(", path.read_text()))
    return frozenset(functions) | {path.stem for path in files}


@pages
def test_every_constant_that_is_named_exists(page: Path) -> None:
    spans = SPAN.findall(FENCE.sub("", page.read_text()))
    assert {name for name in spans if CONSTANT.fullmatch(name)} <= constants()


@cache
def constants() -> frozenset[str]:
    """Return the names of the constants of all modules, without those that another Python runs, which has h5py."""
    names = (name for name in map(module_of, sources()) if not name.endswith("_subprocess"))
    modules = [*map(importlib.import_module, names), limits]
    return frozenset(name for module in modules for name in vars(module) if CONSTANT.fullmatch(name))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def sources() -> list[Path]:
    """Return the files of the programs, without those for tests."""
    found = [path for name in ("protocol", "actors", "rtc") for path in sorted((ROOT / name).rglob("*.py"))]
    return [*(path for path in found if not path.is_relative_to(ROOT / "rtc" / "testing")), ROOT / "cli.py"]


# -------- sentences


@pytest.mark.parametrize("name", ["troubleshooting.md", "turn.md"])
def test_every_sentence_to_search_for_is_one_of_the_programs(name: str) -> None:
    """They are looked for among all strings of the source: a constant holds few of them, as most have names, numbers or
    reasons in them."""
    quoted = list(quotations((ROOT / "docs" / name).read_text()))
    assert len(quoted) > 5
    said = END.join(sentences())
    assert [sentence for sentence in quoted if not words_of(sentence).search(said)] == []


def quotations(text: str) -> Iterator[str]:
    """Yield the sentences in the columns that quote our texts; semicolons separate several sentences in one cell."""
    quoting = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            quoting = False
        elif cells[0] in QUOTES:
            quoting = True
        elif quoting and not cells[0].startswith("---"):
            yield from (part.strip(" *") for part in cells[0].split(";"))


def words_of(sentence: str) -> re.Pattern[str]:
    """Return a pattern for the fixed words of the sentence, in their order, within one text.

    `…` matches anything, and a number also matches a value that the code inserts. A reason of the system in brackets at
    the end, and our remarks after a colon, are not compared.
    """
    fixed = re.sub(r" \([^)]*\)$|: [A-Z].*$", "", sentence)
    pattern = f"[^{END}]*".join(re.escape(part.strip()) for part in fixed.split("…") if part)
    return re.compile(re.sub(r"\d+", r"(\g<0>|…)", pattern))


@cache
def sentences() -> tuple[str, ...]:
    """Return all strings in the source except docstrings, with `…` where a value is inserted."""
    return tuple(text for path in sources() for text in texts(ast.parse(path.read_text())))


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield all strings in a module that are values, with `…` where a value is inserted."""
    comments = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if node in comments:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
