"""Takes the pictures of the report that the README and the documentation show.

    python docs/images/screenshots.py faces.html digits.html docs/images

takes those of the report, and

    make docs
    python docs/images/screenshots.py build/site/docs/index.html docs/images

those of the README, as a code host renders it, and of the site's front page.

Two reports are shown. `faces.html` is of a blend on 64x64 grey faces (see benchmarks/faces64.md), none of which is in
the pictures, made by

    ensad run --time 3m
    ensad evaluate --labels labels.csv
    ensad report --labels labels.csv --pictures 0 -o faces.html

and `digits.html`, for what shows images, of one on the bundled digits, made by

    ensad demo --only-data --out .
    ensad tune --family pca --trials 4
    ensad tune --family fcn --trials 6 --epochs 15
    ensad tune --family cnn --trials 4 --epochs 15
    ensad tune --family memory --trials 4 --epochs 15
    ensad blend --members pca,fcn,cnn,memory --name digits
    ensad report --pictures 4 -o digits.html

Needs playwright and a Chromium (`apt-get install chromium`).
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
# Name, width and height of the window, theme, and what is scrolled to its top.
FACES = (
    ("report-light", 1200, 860, "light", None),
    ("report-dark", 1200, 860, "dark", "#scores"),
    ("report-phone", 390, 844, "light", None),
)
DIGITS = (
    ("report-pictures", 1200, 620, "light", "#group-most"),
    ("report-latents", 1200, 650, "dark", "#latents"),
)
README = (("readme", 1012, 1400, "light", None),)
SITE = (("site", 1280, 900, "light", None),)
ROOT = Path(__file__).parents[2]
_COLOURS = 256
_LIKE_A_HOST = (
    "body{font:16px/1.5 sans-serif;max-width:980px;margin:24px auto;padding:0 16px;color:#1f2328}"
    "pre,code{background:#f6f8fa;font:13.6px monospace}pre{padding:16px;overflow:auto}img{max-width:100%}"
    "table{border-collapse:collapse}td,th{border:1px solid #ddd;padding:6px 13px}h1,h2{border-bottom:1px solid #ddd}"
)


def chromium() -> str | None:
    """The path of a Chromium or Chrome; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


def take(opened: Any, page: Path, folder: Path, shots: Sequence[Any]) -> list[Path]:
    """Write a PNG of few colours for each of `shots`."""
    written = []
    for name, width, height, theme, place in shots:
        context = opened.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        tab = context.new_page()
        tab.goto(page.resolve().as_uri())
        if place is not None:
            # At once, without the glide that the page has for people.
            tab.evaluate(
                "place => document.querySelector(place)?.scrollIntoView({block: 'start', behavior: 'instant'})", place
            )
            tab.wait_for_timeout(200)
        path = folder / f"{name}.png"
        tab.screenshot(path=path)
        with Image.open(path) as shot:
            few = shot.convert("RGB").quantize(_COLOURS, kmeans=2, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        written.append(path)
        context.close()
    return written


def readme(path: Path) -> Path:
    """Write the README as HTML, its pictures where they lie."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark").enable("table").render((ROOT / "README.md").read_text(encoding="utf-8"))
    base = f'<base href="{ROOT.as_uri()}/">'
    path.write_text(f"<!doctype html><meta charset=utf-8>{base}<style>{_LIKE_A_HOST}</style>{body}", encoding="utf-8")
    return path


if __name__ == "__main__":
    *pages, pictures = map(Path, sys.argv[1:])
    with browser() as found:
        if len(pages) == 2:
            taken = [*take(found, pages[0], pictures, FACES), *take(found, pages[1], pictures, DIGITS)]
        else:
            taken = [*take(found, readme(ROOT / "build" / "readme.html"), pictures, README)]
            taken += take(found, pages[0], pictures, SITE)
        for made in taken:
            print(made, made.stat().st_size)
