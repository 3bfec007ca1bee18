"""What `member.json` has to hold for later commands to read it; it may come from a stranger."""

import re
from collections.abc import Mapping
from typing import Any

from ensemble_ad.files.id_table import is_text
from ensemble_ad.files.json_file import fits

_COLUMN = re.compile(r"[A-Za-z0-9_.+-]{1,100}")
_NUMBER = (int, float)
_MOST = 1 << 53
# What later commands read of `member.json`, and what it has to be.
_KINDS: dict[str, Any] = {
    "recipe": {
        "family": str,
        "data": str,
        "preprocess": {"crop": list, "size": list},
        "training": {"epochs": int},
        "labels": (str, type(None)),
    },
    "objective": {"name": str, "direction": str, "value": _NUMBER, "column": str},
    "best_epoch": int,
    "parameters": int,
    "seconds": {"train": _NUMBER, "score": _NUMBER},
    "columns": list,
    "checksums": dict,
    "created": str,
}
# The same of what not every member has.
_TRIAL = {"number": int}
_OPTIONAL: dict[str, Any] = {
    "separation": {"value": _NUMBER, "standard_error": _NUMBER},
    "trial": _TRIAL,
    "objectives": dict,
    "transductive": bool,
}


def unfit(info: Mapping[str, Any]) -> list[str]:
    """What of a member's information is missing or otherwise than it has to be."""
    found = [name for name, kind in _KINDS.items() if not fits(info, {name: kind})]
    if found:
        return found
    if not _belongs_together(info):
        return ["columns"]
    return [] if _is_plain(info) else ["texts and numbers to show"]


def _belongs_together(info: Mapping[str, Any]) -> bool:
    """Whether columns are distinct names, the objective's among them, and the family the key's."""
    columns, key = info["columns"], str(info["key"])
    return (
        all(isinstance(name, str) and _COLUMN.fullmatch(name) for name in columns)
        and len(set(columns)) == len(columns)
        and info["objective"]["column"] in columns
        and info["recipe"]["family"] == key.rpartition("-")[0]
    )


def _is_plain(info: Mapping[str, Any]) -> bool:
    """Whether what a table shows of a member is short text without control characters, and numbers or nothing."""
    recipe, objective = info["recipe"], info["objective"]
    texts = (info.get("preset"), info.get("origin"), recipe["labels"], objective["name"], info["created"],
             recipe["data"])  # fmt: skip
    crop, size = recipe["preprocess"]["crop"][:1], recipe["preprocess"]["size"][:1]
    trial = info.get("trial")
    number = trial["number"] if isinstance(trial, dict) and fits(trial, _TRIAL) else 0
    counts = [recipe["training"]["epochs"], info["best_epoch"], info["parameters"], number]
    counts += [count for count in size if count is not None]
    return (
        all(text is None or (isinstance(text, str) and is_text(text) and len(text) < 300) for text in texts)
        and (len(crop), len(size)) == (1, 1)
        and fits(crop[0], (*_NUMBER, type(None)))
        and all(isinstance(count, int) and abs(count) <= _MOST for count in counts)
        and all(fits(info[name], kind) for name, kind in _OPTIONAL.items() if info.get(name) is not None)
    )
