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


def _in_words_and_numbers(name: str) -> list[tuple[bool, int, str]]:
    """By which trial 9 comes before trial 10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.findall(r"\d+|\D", name)]


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
    assert _column(page, "Name") == sorted(_column(page, "Name"), key=_in_words_and_numbers)
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


# Pairs of texts, of one chart or of the page, whose boxes share more than a hair.
_OVERLAPS = """() => {
  document.querySelectorAll("details").forEach((d) => { d.open = true; });
  const seen = (e) => { const b = e.getBoundingClientRect(); return b.width && b.height ? b : null; };
  const scopes = [...document.querySelectorAll("svg.chart")].map((svg) => [...svg.querySelectorAll("text")]);
  const pinned = ".top *, .tall *, .hidden, .skip, svg *, script, style, dialog *, option, select";
  scopes.push([...document.querySelectorAll("body *")].filter((e) => !e.matches(pinned)
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())));
  const inside = (a, b) => a.contains(b) || b.contains(a);
  const found = [];
  for (const texts of scopes) {
    const boxes = texts.map((e) => [e, seen(e)]).filter(([, b]) => b);
    boxes.forEach(([e, a], i) => boxes.slice(i + 1).forEach(([f, b]) => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (!inside(e, f) && wide > 2 && high > 4) found.push(`${e.textContent.trim()} | ${f.textContent.trim()}`);
    }));
  }
  return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_text_lies_over_another(open_page, width, theme):
    page = open_page(width, 844, color_scheme=theme)
    assert page.evaluate(_OVERLAPS) == []
    page.evaluate("document.querySelector('svg.chart text.axis').setAttribute('y', '20')")
    page.evaluate("document.querySelectorAll('svg.chart text.axis')[1].setAttribute('transform', '')")
    page.evaluate("document.querySelectorAll('svg.chart text.axis')[1].setAttribute('y', '20')")
    page.evaluate("document.querySelectorAll('svg.chart text.axis')[1].setAttribute('x', '200')")
    assert page.evaluate(_OVERLAPS) != []  # the search finds one where there is one


def test_on_a_phone_the_name_and_how_good_it_is_stay_in_sight(open_page):
    page = open_page(390, 844, is_mobile=True, has_touch=True)
    table = page.locator("#table .scroll")
    for _ in range(2):
        for column, title in ((1, "Name"), (2, "AUC")):
            cell = page.locator(f"#everything thead th:nth-child({column})")
            assert title in (cell.text_content() or "")
            box = cell.bounding_box()
            assert 0 <= box["x"] < box["x"] + box["width"] <= 390
        table.evaluate("e => { e.scrollLeft = 500; }")


def test_a_picture_opens_large_with_each_members_map(open_page):
    page = open_page()
    shot = page.locator("#pictures .shot").first
    small = shot.locator("img").first.bounding_box()["width"]
    shot.get_by_role("button", name=re.compile("Larger")).click()
    large = page.locator("dialog[open]")
    assert large.locator("img").count() == shot.locator("img").count() > 2
    assert large.locator("img").first.bounding_box()["width"] > 2 * small
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


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
