"""The file that a command writes where the user says: never one that the command reads."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ensemble_ad.cli._config import SETTINGS

_OF_DATA = ("trainingset.npy", "testingset.npy", "train", "test", "sample_submission.csv", "labels.csv")


def said(output: Path) -> str | None:
    """What stdout gets of an output: its path; nothing of a device or pipe, which may be stdout itself."""
    from ensemble_ad.files.output import is_stream

    return None if is_stream(output) else str(output)


def to_read(output: Path, otherwise: str) -> str:
    """An output in a hint of a command that reads it: its path, quoted; `otherwise` where it went through a pipe."""
    from ensemble_ad.files.output import is_stream

    return otherwise if is_stream(output) else shlex.quote(str(output))


def check_named(output: Path, given: Mapping[str, Any]) -> None:
    """Refuse an output that the command reads, or that holds somebody's images or labels.

    Args:
        output: the file that the user named.
        given: the command's other parameters by name; paths among them are what it reads.

    Raises:
        UsageError: naming the output.
    """
    from ensemble_ad.errors import UsageError
    from ensemble_ad.files.output import check_output, is_stream
    from ensemble_ad.layout import is_ours

    check_output(output, _inputs(given))
    found = output.resolve()
    if found.is_file() and not is_stream(output) and (found.name in _OF_DATA or found.suffix == ".npy"):
        raise UsageError(f"{output} holds images or labels, and would be written over; name another file")
    if "studies" in given and is_ours(given["studies"], output):
        raise UsageError(f"{output} belongs to the studies, and would be written over; name another file")


def _inputs(given: Mapping[str, Any]) -> Iterator[Path]:
    """The files and folders of pictures that a command reads, there or not."""
    yield SETTINGS
    for name, value in given.items():
        paths = [path for path in (value if isinstance(value, tuple) else (value,)) if isinstance(path, Path)]
        if name == "data":
            yield from (value / part for part in _OF_DATA)
        elif name == "studies":
            yield from _evaluated_labels(value)
        else:
            yield from paths
    url = given.get("storage") or ""
    if url.startswith("sqlite:///"):
        yield Path(url.removeprefix("sqlite:///"))


def _evaluated_labels(studies: Path) -> Iterator[Path]:
    """Files of labels that `ensad evaluate` read, and that a report reads again."""
    from ensemble_ad.errors import StorageError
    from ensemble_ad.files.json_file import fits, read_json
    from ensemble_ad.layout import evaluations_folder

    for path in evaluations_folder(studies).glob("*.json"):
        with suppress(StorageError):
            value = read_json(path)
            if fits(value, {"path": str}):
                yield Path(value["path"])
