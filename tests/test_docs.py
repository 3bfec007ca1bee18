"""The site builds without a warning and without the network, and lists what there is."""

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import click
import pytest

import ensemble_ad as ea
from ensemble_ad.cli import main
from ensemble_ad.families import FAMILIES

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


class Loaded(NamedTuple):
    """What a page loads by itself, and where its links go."""

    assets: list[str]
    links: list[str]
    anchors: set[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Loaded([], [], set())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.found.anchors.add(values["id"])
        if tag == "a" and values.get("href"):
            self.found.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.found.assets.append(values["href"])
        elif values.get("src"):
            self.found.assets.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command: list[str | Path] = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-c", ROOT / "docs"]
    done = subprocess.run(
        [*command, "-d", folder / "doctrees", ROOT, folder / "html"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Loaded]:
    found = {}
    for path in site.rglob("*.html"):
        reader = _Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        found[path] = reader.found
    return found


def _text(path: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", path.read_text(encoding="utf-8")))


def test_no_page_loads_from_the_network_and_every_link_has_its_target(site, pages):
    assert len(pages) > 15
    for path, loaded in pages.items():
        for target in loaded.assets:
            assert not re.match(r"(https?:)?//", target), f"{path.name} loads {target}"
            if not target.startswith("data:"):
                assert (path.parent / target.partition("?")[0]).exists(), f"{path.name} lacks {target}"
        for target in loaded.links:
            if re.match(r"[a-z]+:", target):
                continue
            place, _, anchor = target.partition("#")
            there = (path.parent / place).resolve() if place else path
            assert there.exists(), f"{path.name} links to {target}"
            if anchor and there in pages:
                assert anchor in pages[there].anchors, f"{path.name} links to {target}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style.name


def test_families_presets_and_sources_are_on_their_page(site):
    text = _text(site / "docs" / "families.html")
    for family in FAMILIES.values():
        assert family.summary[1:] in text
        for name, preset in family.presets.items():
            assert name in text
            assert preset.source in text


def test_every_command_and_every_public_name_is_in_the_reference(site):
    text, page = _text(site / "docs" / "cli.html"), (site / "docs" / "cli.html").read_text(encoding="utf-8")
    for name, command in main.commands.items():
        commands = {name: command}
        if isinstance(command, click.Group):
            commands = {f"{name} {inner}": each for inner, each in command.commands.items()}
        for each, found in commands.items():
            assert f"ensad {each} [OPTIONS]" in text
            assert f'id="ensad-{each.replace(" ", "-")}"' in page
            for flag in (max(param.opts, key=len) for param in found.params if isinstance(param, click.Option)):
                assert f'id="cmdoption-ensad-{each.replace(" ", "-")}-{flag.lstrip("-")}"' in page, flag
    anchors = (site / "docs" / "api.html").read_text(encoding="utf-8")
    for name in ea.__all__:
        if not name.startswith("_"):
            assert f'id="ensemble_ad.{name}"' in anchors
            assert f'href="#ensemble_ad.{name}"' in anchors  # from the table above
    assert "_NestedSequence" not in anchors


def test_code_can_be_copied_and_the_front_page_shows_a_report(site):
    front = (site / "docs" / "index.html").read_text(encoding="utf-8")
    assert "copybutton.js" in front
    assert "report-light.png" in front
    gallery = (site / "docs" / "gallery.html").read_text(encoding="utf-8")
    for picture in (ROOT / "docs" / "images").glob("report-*.png"):
        assert picture.name in gallery, picture.name


def test_the_pages_that_readers_are_promised_are_in_the_navigation(site):
    links = _text(site / "docs" / "index.html")
    for title in (
        "Ten minutes with real images", "The contest, from download to CSV", "Tuning and weighting without labels",
        "Families, and where they come from", "From a laptop to a cluster", "faces64", "Command line", "Python",
    ):  # fmt: skip
        assert title in links, title
    assert 'url=docs/index.html"' in (site / "index.html").read_text(encoding="utf-8")
