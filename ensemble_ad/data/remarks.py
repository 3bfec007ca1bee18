"""What is said of the files in folders of pictures: which are passed over, and which are not used as they are."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from ensemble_ad.files.json_file import fits, is_count

PASSED_OVER = {
    "hidden": "hidden files and folders are passed over",
    "repeated": "links to what lies there anyway, or to a folder around it, are passed over",
    "other": "files are of no format that is read, and are passed over",
    "dangling": "links lead nowhere, and are passed over",
    "special": "pipes, sockets or devices are passed over",
    "closed": "folders cannot be opened, and are passed over",
    "shadowed": "folders are passed over, since a .npy file of the same images lies beside them",
}
"""What is said of files and folders that give no image, by kind."""
TAKEN = {
    "pages": "pictures have several frames or sizes, of which one is used: save each as a picture of its own",
    "transparent": "pictures have transparent parts, which get the mean colour of the others: flatten them if they "
    "were meant to be seen otherwise",
    "deep": "pictures have more bits a channel than the 8 that are used: save them as PNG or TIFF of 16 bits",
    "damaged": "pictures are damaged, and are used as far as they could be read",
}
"""What is said of pictures that give an image that is not all that they hold, by kind."""
MEANINGS = PASSED_OVER | TAKEN
QUIET = ("hidden", "repeated")
"""The kinds of which nobody has to be warned."""
_ENDINGS = 8
_MOST_TEXT = 300

Remark = Callable[[str, str], object]
"""Told of a kind of `TAKEN` that a picture is of, and of more about it, which may be empty."""


def ending_of(name: str) -> str:
    """The ending of a file's name, ".png"; empty where there is none, as of "scan.2024-11-25"."""
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")  # a Path takes longer than the header of a small file
    return f".{suffix.lower()}" if stem and suffix[:1].isalpha() else ""


class Remarks:
    """How many files there are of each kind of `MEANINGS`, and the first of each.

    Attributes:
        counts: number of files by kind.
        first: the first one by kind, with what more there is to say of it.
        endings: for the kind "other", number of files by the ending of their names.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, tuple[str, str]] = {}
        self.endings: Counter[str] = Counter()

    def add(self, kind: str, name: str, more: str = "") -> None:
        """Count a file."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, (name, more))
        if kind == "other":
            self.endings[ending_of(name)[:20] or "without an ending"] += 1

    def update(self, others: "Remarks") -> None:
        """Count what `others` have counted."""
        for kind, count in others.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.first.setdefault(kind, others.first[kind])
        self.endings.update(others.endings)

    def lines(self, where: str = "") -> Iterator[tuple[str, str]]:
        """A line about each kind, with its level, "ok" or "warning"; `where` comes before it."""
        for kind, meaning in MEANINGS.items():
            if kind not in self.counts:
                continue
            name, more = self.first[kind]
            rest = f": {self._endings()}" if kind == "other" else f"; the first is {name!r}{more and f' ({more})'}"
            yield "ok" if kind in QUIET else "warning", f"{where and f'{where}: '}{self.counts[kind]} {meaning}{rest}"

    def _endings(self) -> str:
        listed = self.endings.most_common(_ENDINGS)
        rest = sum(self.endings.values()) - sum(count for _, count in listed)
        text = ", ".join(f"{count} {ending}" for ending, count in listed) + (f", {rest} others" if rest else "")
        return f"{text}; convert pictures among them to PNG"

    def named(self, names: Sequence[str]) -> "Remarks":
        """The same of files that have been known by their rows so far."""
        found = Remarks()
        found.counts, found.endings = dict(self.counts), self.endings.copy()
        found.first = {kind: (names[int(row)], more) for kind, (row, more) in self.first.items()}
        return found

    def to_json(self) -> dict[str, Any]:
        """The inverse of `from_json`; files are known by their rows."""
        return {
            kind: {"count": count, "row": int(self.first[kind][0]), "more": self.first[kind][1]}
            for kind, count in self.counts.items()
        }

    @classmethod
    def from_json(cls, value: Any, rows: int) -> Self:
        """What `to_json` gave of as many `rows`; the file may be a stranger's, and what is otherwise is left out."""
        found = cls()
        for kind, entry in value.items() if isinstance(value, Mapping) else ():
            if kind in TAKEN and fits(entry, {"count": is_count, "row": is_count, "more": str}) and entry["row"] < rows:
                found.counts[kind] = entry["count"]
                found.first[kind] = (str(entry["row"]), entry["more"][:_MOST_TEXT])
        return found
