"""How a blend was made: data, versions, commands, seeds, times and labels, as far as what is stored tells."""

import platform
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from ensemble_ad.blend.of_members import columns_of
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.members.column import Column
from ensemble_ad.members.data_record import DataRecord
from ensemble_ad.members.store import Member
from ensemble_ad.results.page.contents import LabelUse, Making
from ensemble_ad.results.page.trials import Search
from ensemble_ad.version import __version__

_PACKAGES = ("torch", "optuna", "numpy", "scikit-learn")
_UNKNOWN = "not stored"


def making(
    blend: SavedBlend,
    members: Sequence[Member],
    record: DataRecord,
    labels: LabelUse,
    searched: Sequence[Search],
) -> Making:
    """Collect how a blend was made.

    Args:
        blend: the blend that the report is about.
        members: the blend's members.
        record: the record of their data set.
        labels: the labels that the report read.
        searched: the studies that the members came from.
    """
    return Making(
        facts=_facts(blend, members, record, labels),
        commands=_commands(blend, members, record, labels, searched),
        members=pd.DataFrame([_row(member) for member in members]),
    )


def _row(member: Member) -> dict[str, Any]:
    info, recipe = member.info, member.info.recipe
    return {
        "member": member.key,
        "from": f"trial {info.trial.number} of {info.trial.study}" if info.trial else info.source,
        "seed": recipe.seed,
        "best epoch": f"{info.best_epoch} of {recipe.epochs}" if recipe.epochs else "",
        "chosen by": info.objective.name,
        "labels": recipe.labels or "none",
        "training, s": round(info.seconds.train, 1),
        "scoring, s": round(info.seconds.score, 1),
        "device": info.environment.get("device", _UNKNOWN),
        "ensemble_ad": info.environment.get("ensemble_ad", _UNKNOWN),
        "torch": info.environment.get("torch", _UNKNOWN),
        "made": info.created[:16].replace("T", " "),
    }


def _facts(blend: SavedBlend, members: Sequence[Member], record: DataRecord, labels: LabelUse) -> dict[str, str]:
    info = blend.info
    seconds = sum(m.info.seconds.train + m.info.seconds.score for m in members)
    side, _, channels = record.shape
    tested = f"{len(record.ids):,}" if record.ids else "no"
    return {
        "Data": f"{record.n_train:,} training images, {record.n_reference:,} of them held out as reference; "
        f"{tested} test images; {side}x{side}, {channels} channel{'s' if channels > 1 else ''}",
        "Data fingerprint": record.fingerprint,
        "Read from": record.source,
        "Blend": f"{blend.name}, method {info.method} (asked for: {info.asked_method}), "
        f"normaliser {info.normaliser or _UNKNOWN}",
        "Labels that its making used": info.labels_used,
        "Labels that this report used": labels.said,
        "Share of anomalies": _share(blend),
        "Trained on test images": "yes, a member of it (without their labels)" if info.transductive else "no",
        "Time": f"{_span(seconds)} to train and score the members, {info.seconds:.1f} s to blend",
        "Blended": info.blended[:19].replace("T", " ") + " UTC",
        "Report": f"written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by ensemble_ad {__version__}, "
        f"Python {platform.python_version()}" + "".join(f", {name} {found}" for name, found in _versions().items()),
    }  # fmt: skip


def _share(blend: SavedBlend) -> str:
    return "unknown" if blend.share is None else blend.share.in_words


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _commands(
    blend: SavedBlend,
    members: Sequence[Member],
    record: DataRecord,
    labels: LabelUse,
    searched: Sequence[Search],
) -> tuple[str, ...]:
    """The commands that make the blend again, by its members' recipes and studies; folders and devices are left out."""
    commands: dict[str, None] = {}
    for member in members:
        commands[_command(member, searched, record)] = None
    info = blend.info
    line = f"ensad blend --members {','.join(info.terms or [m.key for m in members])}"
    asked = info.asked_method
    if asked == "given":
        line += " --weights ..."
    elif asked != "auto":
        line += f" --method {asked}"
    used = Counter(Column.of(name).key for name in blend.weights)
    if any(used[m.key] > len(columns_of(m, "main")) for m in members):
        line += " --columns all"
    line += _no_look(record)
    if info.anomaly_share is not None:
        line += f" --anomaly-share {info.anomaly_share:g}"
    commands[f"{line} --name {blend.name}"] = None
    if labels.evaluated:
        commands["ensad evaluate --labels labels.csv"] = None
    commands[f"ensad report --blend {blend.name}"] = None
    return tuple(commands)


def _command(member: Member, searched: Sequence[Search], record: DataRecord) -> str:
    info, recipe = member.info, member.info.recipe
    if info.origin:
        return f"ensad import scores.csv --reference held_out.csv --name {member.family}"
    transductive = " --transductive" if info.transductive else ""
    flips = " --flips" if recipe.flips else ""
    subset = f" --subset {recipe.subset}" if recipe.subset else ""
    ending = f"{transductive}{flips}{subset} --seed {recipe.seed or 0}"
    if info.trial is None:
        return f"ensad train --preset {info.preset} --epochs {recipe.epochs}{ending}"
    study = info.trial.study
    search = next((each for each in searched if each.study == study), None)
    trials = f" --trials {search.finished}" if search else ""
    epochs = f" --epochs {search.epochs}" if search and search.epochs else ""
    width = f" --max-width {search.widest}" if search and search.widest else ""
    asked = study.removeprefix(f"{member.family}-").partition("-")[0]
    objective = "" if asked == "auto" else " --labels labels.csv" if asked == "labels" else f" --objective {asked}"
    share = recipe.json.get("share")
    objective += f" --anomaly-share {share:g}" if isinstance(share, float) else ""
    size = recipe.size
    side = "" if size == record.shape[0] or (search and search.sized) else f" --size {size}"
    look = _no_look(record)
    return f"ensad tune --family {member.family}{trials}{epochs}{objective}{side}{width}{look}{ending}"


def _no_look(record: DataRecord) -> str:
    """The option that makes a command read no test image, where none was read."""
    return "" if record.ids else " --no-look"
