"""JSON files that may come from a stranger: of bounded size, their numbers finite, their text Unicode."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from ensemble_ad.errors import StorageError
from ensemble_ad.files.whole import clear_errors, open_regular, whole_file

MOST_JSON = 16 << 20
"""The most bytes of a JSON file of ours; one that holds ids of images may have `MOST_IDS`."""
MOST_IDS = 64 << 20
_BEYOND = 1 << 64
_LARGEST, _MOST_COUNTED = 1e100, 1 << 53


def write_json(path: Path, value: Any, *, most: int = MOST_JSON) -> None:
    """Write `value` as indented JSON; numbers must be finite (JSON has no NaN).

    Raises:
        StorageError: if it cannot be written, or would have more than `most` bytes, which `read_json` refuses.
    """
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if len(text) > most:
        raise StorageError(f"{path} must have {most} bytes at most, and would have {len(text)}; shorten what is in it")
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path, *, most: int = MOST_JSON) -> Any:
    """Read JSON that may come from a stranger: of bounded size, its numbers finite and below 2^64, its text Unicode.

    Raises:
        StorageError: if the file is missing, unreadable, larger than `most` bytes or not such JSON.
    """
    with clear_errors(path, "read"), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        text = file.read(min(size, most) + 1)  # a read allocates what it asks for
    if len(text) > most:
        raise StorageError(f"{path} must have {most} bytes at most; it is damaged or not ours, remove it")
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} must be JSON: {error}; it is damaged, remove it or copy it again") from error


def parse_json(text: bytes) -> Any:
    """The value of a JSON text, which has to be as `read_json` says.

    Raises:
        ValueError: if the text is not such JSON.
        RecursionError: if it is nested too deeply.
    """
    value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)
    # Half a surrogate pair is text that no file and no terminal takes.
    if b"\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _bounded(text: str) -> int:
    number = int(text[:40])
    if len(text) > 40 or not -_BEYOND < number < _BEYOND:
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a kind: a type or several, a function that says so, or a dict of kinds by name."""
    if isinstance(kind, (type, tuple)):
        return isinstance(value, kind)
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            return False
        for name, inner in kind.items():  # noqa: SIM110, a loop is twice as fast, and tables check a thousand members
            if name not in value or not fits(value[name], inner):
                return False
        return True
    return bool(kind(value))


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that arithmetic takes: squares and sums of such numbers stay finite."""
    return type(value) in (float, int) and -_LARGEST <= value <= _LARGEST  # a bool is none


def is_count(value: Any) -> bool:
    """Whether a JSON value is a whole number of 0 or more that a float holds exactly."""
    return type(value) is int and 0 <= value <= _MOST_COUNTED


def json_hash(value: Any) -> str:
    """BLAKE2b-128 of a JSON value in canonical form (sorted keys, no spaces), hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
