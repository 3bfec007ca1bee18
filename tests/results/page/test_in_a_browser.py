"""The report in a browser: it is clicked, typed into, tabbed through and looked at, in both themes and on a phone."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

from ensemble_ad.blend.saved import load_blend
from ensemble_ad.results.page import Sources, collect, render

_SPEC = importlib.util.spec_from_file_location(
    "screenshots", Path(__file__).parents[3] / "docs" / "images" / "screenshots.py"
)
assert _SPEC is not None
screenshots = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(screenshots)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(screenshots.chromium() is None, reason="there is no Chromium; apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    with screenshots.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(studies_folder, digits_folder, tmp_path_factory):
    """A report with labels."""
    sources = Sources(
        studies=studies_folder, data=digits_folder, labels=digits_folder / "labels.csv", pictures=2, device="cpu"
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(collect(load_blend(studies_folder, "both"), sources)), encoding="utf-8")
    return path


@pytest.fixture
def open_page(browser, written):
    """Opens the report; at the end there must have been no error and no request but for the file itself."""
    problems, contexts = [], []

    def open_it(width=1200, height=860, **settings):
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url[:80]))
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else problems.append(request.url),
        )
        page.goto(written.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert problems == []


def _column(page, title):
    """The shown cells of a column of the table."""
    place = page.eval_on_selector_all("#everything thead th", "all => all.map(th => th.textContent.trim())").index(
        title
    )
    return page.eval_on_selector_all(
        "#everything tbody tr:not([hidden])", f"rows => rows.map(row => row.cells[{place}].textContent.trim())"
    )


def test_a_heading_sorts_and_says_so(open_page):
    page = open_page()
    heading = page.locator("#everything thead th", has_text="Separation")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert page.locator("#everything th[aria-sort]").count() == 1
    shown = list(map(float, _column(page, "Separation")))
    assert shown == sorted(shown, reverse=True)
    heading.get_by_role("button").press("Enter")  # by the keyboard, the other way
    assert heading.get_attribute("aria-sort") == "ascending"
    assert list(map(float, _column(page, "Separation"))) == sorted(shown)
    page.locator("#everything thead th", has_text="Name").get_by_role("button").click()
    assert _column(page, "Name") == sorted(_column(page, "Name"))
    # What is missing stays last, whichever way.
    weight = page.locator("#everything thead th", has_text="Weight").get_by_role("button")
    for _ in range(2):
        weight.click()
        assert _column(page, "Weight")[-1] == "\N{EN DASH}"


def test_typing_filters_and_the_count_is_told(open_page):
    page = open_page()
    rows = len(_column(page, "Name"))
    assert rows == 5
    page.get_by_label("Filter").fill("resnet trial")
    assert _column(page, "Family") == ["resnet", "resnet"]
    assert page.locator("#count").text_content() == f"2 of {rows} rows"
    page.get_by_label("Filter").fill("nothing like it")
    assert page.locator("#count").text_content() == f"0 of {rows} rows"
    page.get_by_label("Filter").fill("")
    page.get_by_label("Show").select_option("blend")
    assert _column(page, "Name") == ["both"]
    page.get_by_label("Show").select_option("used")
    assert "both" not in _column(page, "Name")
    assert 1 <= len(_column(page, "Name")) <= 4


def test_the_theme_follows_the_system_and_the_button(open_page):
    background = "getComputedStyle(document.body).backgroundColor"
    light = open_page(color_scheme="light")
    dark = open_page(color_scheme="dark")
    day, night = light.evaluate(background), dark.evaluate(background)
    assert day != night
    button = dark.get_by_role("button", name="Theme")
    seen = []
    for _ in range(3):
        button.click()
        seen.append((button.text_content(), dark.evaluate(background)))
    assert seen == [("Theme: light", day), ("Theme: dark", night), ("Theme: auto", night)]


def test_sections_open_and_families_can_be_hidden(open_page):
    page = open_page(reduced_motion="reduce")
    disputed = page.locator("#group-disputed")
    assert disputed.get_attribute("open") is None
    disputed.locator("summary").click()
    assert disputed.locator(".shot").first.is_visible()
    assert page.locator('#pictures [data-of="resnet"]').first.is_visible()
    page.get_by_role("checkbox", name="resnet").uncheck()
    assert page.locator('#pictures [data-of="resnet"]:visible').count() == 0
    assert page.locator('#pictures [data-of="fcn"]').first.is_visible()
    page.get_by_role("checkbox", name="resnet").check()
    assert page.locator('#pictures [data-of="resnet"]').first.is_visible()
    page.get_by_role("link", name="Latents").click()
    assert abs(page.evaluate("document.getElementById('latents').getBoundingClientRect().top")) < 150


def test_all_of_it_can_be_reached_by_the_keyboard_and_shows_where_one_is(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached, rings = set(), []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)")
        )
        rings.append(page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)"))
    assert {"filter", "kind", "AUC", "Name"} <= reached
    assert min(rings) >= 2


# Of each text, the contrast with what is painted behind it, by WCAG 2's formula.
_CONTRASTS = """() => {
  const parse = (c) => { const n = c.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, [r, g, b, a]) =>
      [r, g, b].map((v, i) => v * a + below[i] * (1 - a)), [255, 255, 255]);
  };
  document.querySelectorAll("details").forEach((d) => { d.open = true; });
  const found = {};
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || ["SCRIPT", "STYLE"].includes(element.tagName) || element.closest(".value, title")) continue;
    const style = getComputedStyle(element);
    const colour = parse(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(colour), luminance(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = element.tagName + "." + (element.className.baseVal ?? element.className);
    found[name] = Math.min(found[name] ?? 99, ratio);
  }
  return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(open_page, theme):
    found = open_page(color_scheme=theme).evaluate(_CONTRASTS)
    assert len(found) > 20
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}


def test_a_phone_needs_no_scrolling_sideways_and_no_zoom(open_page):
    page = open_page(390, 844, device_scale_factor=2, has_touch=True, is_mobile=True)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    small = page.evaluate(
        """() => [...document.querySelectorAll("main p, main td, main th, figcaption, .view span")]
          .filter((e) => parseFloat(getComputedStyle(e).fontSize) < 11).length"""
    )
    assert small == 0
    # Text of charts is scaled with them.
    scaled = page.evaluate(
        """() => [...document.querySelectorAll("#scores .chart text")].map((t) =>
          parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width
            / t.ownerSVGElement.viewBox.baseVal.width)"""
    )
    assert min(scaled) >= 9.5


def test_a_screen_reader_gets_a_name_of_everything(open_page):
    page = open_page()
    for role in ("button", "link", "region", "checkbox", "searchbox", "combobox", "table", "img", "navigation"):
        assert page.get_by_role(role, name=re.compile(r"\w")).count() >= 1, role
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, img, svg[role=img], [role=region]")]
          .filter((e) => !(e.getAttribute("aria-label") || e.alt || e.textContent.trim() || e.labels?.length
            || document.getElementById(e.getAttribute("aria-labelledby")))).length"""
    )
    assert unnamed == 0


def test_without_scripts_everything_is_there(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("#everything tbody tr").count() == 5
    assert page.get_by_role("button", name="Theme").count() == 0
    page.locator("#group-disputed summary").click()
    assert page.locator("#group-disputed .shot").first.is_visible()


def test_the_screenshots_of_the_documentation_are_taken_by_this_script(browser, written, tmp_path):
    some = [screenshots.FACES[1], screenshots.FACES[-1]]
    made = {path.name: path for path in screenshots.take(browser, written, tmp_path, some)}
    assert set(made) == {f"{name}.png" for name, *_ in some}
    kept = Path(screenshots.__file__).parent  # type: ignore[arg-type]
    for name, width, height, _, _ in (*screenshots.FACES, *screenshots.DIGITS):
        for file in filter(None, (made.get(f"{name}.png"), kept / f"{name}.png")):
            with Image.open(file) as shot:
                assert shot.size == (width, height)
                assert len(shot.convert("RGB").getcolors(1 << 24)) > 10  # type: ignore[arg-type]
        assert (kept / f"{name}.png").stat().st_size < 100_000


def test_a_picture_opens_large_and_closes(open_page):
    page = open_page()
    first = page.locator(".view.where .opens").first
    first.click()
    shown = page.locator("#large img")
    assert shown.is_visible()
    assert shown.get_attribute("src") == first.locator("img").get_attribute("src")
    assert shown.bounding_box()["width"] > 400
    page.keyboard.press("Escape")
    assert not shown.is_visible()
