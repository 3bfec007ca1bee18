"""Text that may come from a stranger: what a terminal and a file take."""

import pytest

from ensemble_ad.files.text import is_text


@pytest.mark.parametrize("text", ["", "a b", "naïve", "日本語", "\U0001f600", "\u00a0"])
def test_unicode_without_control_characters_is_text(text):
    assert is_text(text)
    assert text.encode().decode() == text


@pytest.mark.parametrize("character", ["\x00", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\x9f", "\ud800"])
def test_control_characters_and_lone_surrogates_are_no_text(character):
    assert not is_text(character)
    assert not is_text(f"a{character}b")
