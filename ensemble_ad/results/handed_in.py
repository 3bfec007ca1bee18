"""What was handed in, and what came back: `submissions/handed_in.json`, beside the CSVs themselves."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.files.json_file import fits, is_number, read_json, write_json
from ensemble_ad.files.lock import held
from ensemble_ad.files.text import is_text

FORMAT = 1
_PATIENCE = 60.0  # seconds
_RECORD = "handed_in.json"


def _is_line(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 1000 and is_text(value)


def _is_number_or_none(value: object) -> bool:
    return value is None or is_number(value)


_KINDS: dict[str, Any] = {
    "blend": _is_line,
    "separation": _is_number_or_none,
    "note": _is_line,
    "public": _is_number_or_none,
    "private": _is_number_or_none,
}


@dataclass(frozen=True, kw_only=True)
class HandedIn:
    """One submission.

    Attributes:
        blend: name of the blend that it was made of; empty where that is not known.
        separation: the blend's separation then.
        note: what the user wrote about it.
        public, private: the scores that the contest gave, as the user typed them.
    """

    blend: str = ""
    separation: float | None = None
    note: str = ""
    public: float | None = None
    private: float | None = None


def handed_in(folder: Path) -> dict[str, HandedIn]:
    """All submissions of a folder by their file's name, the oldest first; also files that nothing is known of.

    Raises:
        StorageError: if the record is damaged or of a newer version.
    """
    known = _read(folder)
    files = sorted(path.name for path in folder.glob("*.csv") if path.is_file())
    return {name: known.get(name, HandedIn()) for name in files}


def note_submission(path: Path, **what: Any) -> HandedIn:
    """Note something about a submission: fields of `HandedIn`, those that are None left as they are.

    Raises:
        UsageError: if there is no such file, or a text or number that cannot be kept.
        StorageError: if the record is damaged or cannot be written.
    """
    if not path.is_file():
        there = ", ".join(handed_in(path.parent)) or "none"
        raise UsageError(f"there is no submission {path.name} in {path.parent}; there are {there}")
    lock = path.parent / f".{_RECORD}.lock"  # two submissions at once
    with held(lock, StorageError(f"another process keeps {lock}; end it, and try again"), seconds=_PATIENCE):
        known = _read(path.parent)
        news = {name: each for name, each in what.items() if each is not None}
        noted = known[path.name] = replace(known.get(path.name, HandedIn()), **news)
        check(noted)
        value = {"format": FORMAT, "submissions": {name: asdict(each) for name, each in sorted(known.items())}}
        write_json(path.parent / _RECORD, value)
    return noted


def check(noted: HandedIn) -> None:
    """Refuse what cannot be kept.

    Raises:
        UsageError: for a note of several lines or too long, and a score that is no finite number.
    """
    if not fits(asdict(noted), _KINDS):
        raise UsageError("a note must be one line of text (1,000 characters at most), and a score a finite number")


def _read(folder: Path) -> dict[str, HandedIn]:
    path = folder / _RECORD
    if not path.exists():
        return {}
    value = read_json(path)
    if not fits(value, {"submissions": dict}) or value.get("format") != FORMAT:
        raise StorageError(f"{path} is no record that this version reads; remove it")
    found = value["submissions"]
    if not all(fits(each, _KINDS) and set(each) == set(_KINDS) for each in found.values()):
        raise StorageError(f"{path} is damaged; mend it by hand or remove it")
    return {name: HandedIn(**each) for name, each in found.items()}
