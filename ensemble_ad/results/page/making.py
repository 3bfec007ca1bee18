"""How a blend was made: data, versions, commands, seeds, times and labels, as far as what is stored tells."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from ensemble_ad.blend.of_members import columns_of
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.members.data_record import DataRecord
from ensemble_ad.members.store import Member
from ensemble_ad.results.page.contents import LabelUse, Making, Search
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
    """Collect it.

    Args:
        blend: what the report is of.
        members: of the blend.
        record: of their data set.
        labels: what the report read.
        searched: the studies that they came from.
    """
    return Making(
        facts=_facts(blend, members, record, labels),
        commands=_commands(blend, members, record, labels, searched),
        members=pd.DataFrame([_row(member) for member in members]),
    )


def _row(member: Member) -> dict[str, Any]:
    info, recipe = member.info, member.info["recipe"]
    training, environment = recipe["training"], info.get("environment") or {}
    trial = info.get("trial")
    origin = f"trial {trial['number']} of {trial['study']}" if trial else info.get("preset", info.get("origin", ""))
    return {
        "member": member.key,
        "from": origin,
        "seed": training.get("seed"),
        "best epoch": f"{info['best_epoch']} of {training['epochs']}" if training["epochs"] else "",
        "chosen by": info["objective"]["name"],
        "labels": recipe["labels"] or "none",
        "training, s": round(float(info["seconds"]["train"]), 1),
        "scoring, s": round(float(info["seconds"]["score"]), 1),
        "device": environment.get("device", _UNKNOWN),
        "ensemble_ad": environment.get("ensemble_ad", _UNKNOWN),
        "torch": environment.get("torch", _UNKNOWN),
        "made": str(info["created"])[:16].replace("T", " "),
    }


def _facts(blend: SavedBlend, members: Sequence[Member], record: DataRecord, labels: LabelUse) -> dict[str, str]:
    info = blend.info
    seconds = sum(float(m.info["seconds"]["train"]) + float(m.info["seconds"]["score"]) for m in members)
    side, _, channels = record.shape
    return {
        "Data": f"{record.n_train:,} training images, {record.n_reference:,} of them held out as reference; "
        f"{len(record.ids):,} test images; {side}x{side}, {channels} channel{'s' if channels > 1 else ''}",
        "Data fingerprint": record.fingerprint,
        "Read from": record.source,
        "Blend": f"{blend.name}, method {info['method']} (asked for: {info.get('asked_method', _UNKNOWN)}), "
        f"normaliser {info.get('normaliser', _UNKNOWN)}",
        "Labels that its making used": str(info["labels_used"]),
        "Labels that this report used": labels.said,
        "Share of anomalies": _share(blend),
        "Trained on test images": "yes, a member of it (without their labels)" if blend.transductive else "no",
        "Time": f"{_span(seconds)} to train and score the members, {float(info['seconds']):.1f} s to blend",
        "Blended": str(info["blended"])[:19].replace("T", " ") + " UTC",
        "Report": f"written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by ensemble_ad {__version__}, "
        f"Python {platform.python_version()}" + "".join(f", {name} {found}" for name, found in _versions().items()),
    }  # fmt: skip


def _share(blend: SavedBlend) -> str:
    share = blend.share
    if share is None:
        return "unknown"
    error = "" if share.given else f" (standard error {share.standard_error:.1%})"
    return f"{share.value:.1%}, {share.source}{error}"


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
    """The commands that lead here, by the members' recipes and studies; folders and the device are left out."""
    commands: dict[str, None] = {}
    for member in members:
        commands[_command(member, searched, record)] = None
    info = blend.info
    line = f"ensad blend --members {','.join(map(str, info.get('terms', [m.key for m in members])))}"
    asked = str(info.get("asked_method", "auto"))
    if asked == "given":
        line += " --weights ..."
    elif asked != "auto":
        line += f" --method {asked}"
    used = {name.partition("/")[0] for name in blend.weights}
    if any(
        len([c for c in blend.weights if c.startswith(f"{m.key}/")]) > len(columns_of(m, "main"))
        for m in members
        if m.key in used
    ):
        line += " --columns all"
    if info.get("anomaly_share") is not None:
        line += f" --anomaly-share {info['anomaly_share']:g}"
    commands[f"{line} --name {blend.name}"] = None
    if labels.evaluated:
        commands["ensad evaluate --labels labels.csv"] = None
    commands[f"ensad report --blend {blend.name}"] = None
    return tuple(commands)


def _command(member: Member, searched: Sequence[Search], record: DataRecord) -> str:
    info, recipe = member.info, member.info["recipe"]
    if info.get("origin"):
        return f"ensad import scores.csv --reference held_out.csv --name {member.family}"
    training: Mapping[str, Any] = recipe["training"]
    transductive = " --transductive" if info.get("transductive") else ""
    flips = " --flips" if recipe.get("flips") else ""
    subset = f" --subset {recipe['subset']}" if recipe.get("subset") else ""
    ending = f"{transductive}{flips}{subset} --seed {training.get('seed', 0)}"
    if not info.get("trial"):
        return f"ensad train --preset {info.get('preset')} --epochs {training['epochs']}{ending}"
    study = str(info["trial"]["study"])
    search = next((each for each in searched if each.study in (study, f"{study}-both")), None)
    trials = f" --trials {search.finished}" if search else ""
    epochs = f" --epochs {search.epochs}" if search and search.epochs else ""
    width = f" --max-width {search.widest}" if search and search.widest else ""
    asked = study.removeprefix(f"{member.family}-").partition("-")[0]
    objective = "" if asked == "auto" else " --labels labels.csv" if asked == "labels" else f" --objective {asked}"
    size = recipe["preprocess"]["size"][0]
    side = "" if size == record.shape[0] else f" --size {size}"
    return f"ensad tune --family {member.family}{trials}{epochs}{objective}{side}{width}{ending}"
