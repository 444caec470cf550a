"""The docs: generated parts are current; the site is built offline without a warning, nothing in it from another host, every command in it exists."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

from services.cli import main
from services.readme import GENERATED, ROOT, SERVICES, renewed, settings_rows
from services.settings import Common

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LOADED = {"link": "href", "script": "src", "img": "src", "source": "src", "iframe": "src"}
"""Tag → the attribute that a browser loads without being asked."""


@pytest.mark.parametrize("page", GENERATED)
def test_generated_parts_are_current(page: str) -> None:
    """`python -m services.readme` would change nothing."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert renewed(text) == text


@pytest.mark.parametrize(("title", "kind"), SERVICES)
def test_every_setting_says_what_it_means(title: str, kind: type[Common]) -> None:
    """No row of the settings table lacks a meaning."""
    assert [variable for variable, _, meaning in settings_rows(kind, frozenset()) if not meaning] == [], title


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` builds it: a dead link or a page that no other lists is a warning, and a warning fails."""
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built


class Loads(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it where the tag loads something."""
        self.found += [value for name, value in attrs if name == LOADED.get(tag) and value]


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    """No script, style, font or picture: the site reads the same without a network."""
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found
        assert [each for each in loads.found if re.match(r"(https?:)?//", each)] == [], page.name
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")) == [], (
            style.name
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_has_two_versions_of_itself(page: Path) -> None:
    """No marker of a merge's conflict is left."""
    assert re.findall(r"^(?:<{7}|>{7})(?: .*)?$", page.read_text(encoding="utf-8"), re.MULTILINE) == []


def test_every_page_is_reached(site: Path) -> None:
    """Each page of the docs is on the site and has a title of its own."""
    titles = set()
    for path in PAGES[1:]:
        page = site / path.relative_to(DOCS).with_suffix(".html")
        found = re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"))
        assert found
        titles.add(found[1])
    assert len(titles) == len(PAGES) - 1


def named(text: str) -> Iterator[list[str]]:
    """The words behind each `stratagem` in code, inline or on a line of its own."""
    inline = re.findall(r"`(?:\.venv/bin/)?stratagem ([^`\n]+)`", text)
    lines = re.findall(r"^ *(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?stratagem ([a-z][^\n]*)$", text, re.MULTILINE)
    bracketed = re.findall(r"\$\((?:\.venv/bin/)?stratagem ([^)\n]+)\)", text)
    for found in [*inline, *lines, *bracketed]:
        yield shlex.split(found.replace("…", " "), comments=True)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_and_option_named_exists(path: Path) -> None:
    """Whoever copies one does not meet `No such command`, `No such option`."""
    for words in named(path.read_text(encoding="utf-8")):
        command: click.Command = main
        while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z-]+(\|[a-z-]+)*", words[0]):
            first = words.pop(0).split("|")
            assert set(first) <= set(command.commands), f"stratagem {first}"
            command = command.commands[first[0]]
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert given <= known | {"--help"}, f"{command.name}: {given - known}"


def test_the_commands_are_found() -> None:
    """The readers of the pages see them: else the test above says nothing."""
    assert list(named("`stratagem up`\n    KEY=$(stratagem keys create a --scope publish) x\nstratagem data prepare --out D")) == [
        ["up"], ["data", "prepare", "--out", "D"], ["keys", "create", "a", "--scope", "publish"],
    ]  # fmt: skip
