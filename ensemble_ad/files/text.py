"""Text that may come from a stranger: what terminals and files take, and what a spreadsheet would run."""

import re

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Spreadsheets take this for a formula and may run it; a number is no formula.
_FORMULA = re.compile(r"(?!\s*[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?\s*$)\s*[=+\-@|%]")


def is_text(text: str) -> bool:
    """Whether it is Unicode without control characters, which any terminal and any file takes."""
    return _NO_TEXT.search(text) is None


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet may take a cell of a CSV file for a formula, which could run programs.

    >>> [is_formula(cell) for cell in ("=1+1", "@SUM(1)", "-a.png", "-1.5", "a=b.png")]
    [True, True, True, False, False]
    """
    return _FORMULA.match(cell) is not None
