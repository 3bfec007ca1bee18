"""The page: one file, which can be read aloud and shows what was collected."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ensemble_ad.results.page import render


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.images, self.headings, self.tags = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "img":
            self.images.append(values)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.links += [values[name] for name in ("src", "href", "action", "data", "poster") if values.get(name)]


@pytest.fixture(scope="module")
def text(contents):
    return render(contents)


def test_the_page_is_one_file_that_loads_nothing(text):
    page = _Page(text)
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not re.search(r"@import|url\(|https?://|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    assert len(text.encode()) < 5_000_000


def test_the_page_can_be_read_aloud(text):
    page = _Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.images
    assert all(image["alt"] for image in page.images)
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert all(v["aria-label"] for tag, v in page.tags if tag == "svg" and v.get("role") == "img")
    assert all("aria-hidden" in v or v.get("role") == "img" for tag, v in page.tags if tag == "svg")
    assert text.count("<table") == text.count("<caption")
    assert all("scope" in v for tag, v in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags


def test_the_page_shows_the_numbers_that_were_collected(contents, text):
    for judged in contents.headline.judged:
        assert f"{judged.value:.3f}" in text
        assert f"{judged.low:.3f} to {judged.high:.3f}" in text
    for name in contents.table.index:
        assert f'<th scope="row">{name}</th>' in text
    for w in contents.weights:
        assert f"{100 * w.weight:.1f}%" in text
    assert f"Average precision {contents.curves.average_precision:.3f}" in text
    for command in contents.making.commands:
        assert command in text
    assert text.count("decoded with 50% noise") == len(contents.latents)


def test_a_page_that_becomes_too_large_gets_smaller_pictures(contents, text):
    size = len(text.encode())
    assert len(render(contents, most=size).encode()) == size
    smaller = render(contents, most=1)
    assert smaller.count("<img") == text.count("<img")


def test_the_blend_of_a_run_is_shown_as_it_has_grown(contents):
    text = render(replace(contents, growth=((3.0, 0.7), (60.0, 0.8))))
    assert "from 0.700 to 0.800 in 60 s" in text
    assert "3 s: 0.7000" in text
    assert "of ensad run" not in render(contents)


def test_names_are_escaped(studies_folder, contents):
    from dataclasses import replace

    judged = tuple(replace(each, name=f"<i>{each.role}</i>") for each in contents.headline.judged)
    headline = replace(contents.headline, judged=judged)
    text = render(replace(contents, explanation="<script>alert(1)</script>", notes=("<b>x</b>",), headline=headline))
    assert not re.search("<script>alert|<b>x|<i>", text)
    assert "<code>&lt;i&gt;chosen&lt;/i&gt;</code>" in text
