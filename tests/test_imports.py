"""Imports point one way, left to right in the flow, and right of the cache nothing needs torch."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import ensemble_ad

ROOT = Path(ensemble_ad.__file__).parent
# A module may import those to its left. A package (families, blend, ...) stands for all its files.
ORDER = (
    "version", "errors", "config", "storage", "archive_file", "array_file", "id_table", "images", "image_stream",
    "bundled", "preprocess", "split",
    "check", "statistics", "pseudo_anomalies", "synthetic",
    "reconstruction", "families", "precision", "allocator", "train_settings", "optimizer", "step",
    "training_state", "train", "transductive", "score", "recipe", "objective", "auto_objective", "member_info", "cache",
    "selection", "checkpoint", "judge", "fit", "lease", "study_storage", "failures", "artifacts", "course", "plan",
    "tune", "workers",
    "blend", "saved_blend", "ensemble", "evaluate", "audit", "tables", "table_text", "submit", "alarm",
    "imported", "score_file", "scoring", "archive", "image_rows", "detector", "blended_detector", "latent", "report",
    "cli", "__main__",
)  # fmt: skip
WITHOUT_TORCH = (
    "errors", "config", "storage", "id_table", "images", "preprocess", "split", "check", "statistics", "cache",
    "selection", "blend", "saved_blend", "ensemble", "evaluate", "audit", "tables", "table_text", "submit",
    "image_stream", "alarm", "score_file", "archive_file", "array_file", "archive", "image_rows",
    "pseudo_anomalies", "synthetic", "objective", "auto_objective",
    "cli/__init__", "cli/_completion", "cli/_options", "cli/_output", "cli/_table",
    "cli/audit", "cli/blend", "cli/compare", "cli/data",
    "cli/evaluate", "cli/submit",
)  # fmt: skip


def _files(unit: str) -> list[Path]:
    path = ROOT / unit
    return sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def _imports(path: Path, *, of_types_too: bool) -> Iterator[str]:
    """Dotted names of what a file imports anywhere in it, as in `ensemble_ad.images.Dataset`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types and not of_types_too:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _unit(name: str) -> str | None:
    """The module or package of ours that a dotted name lies in."""
    parts = name.split(".")
    return parts[1] if parts[0] == "ensemble_ad" and len(parts) > 1 and parts[1] in ORDER else None


def test_every_module_has_its_place_in_the_order():
    found = {
        path.stem if path.suffix else path.name for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert found - {"__init__", "__pycache__"} == set(ORDER)


@pytest.mark.parametrize("unit", ORDER)
def test_a_module_imports_only_what_lies_to_its_left(unit):
    allowed = {*ORDER[: ORDER.index(unit) + 1]}
    for path in _files(unit):
        backward = {_unit(name) for name in _imports(path, of_types_too=True)} - allowed - {None}
        assert not backward, f"{path.relative_to(ROOT)} imports {backward}"


@cache
def _third_party(unit: str) -> frozenset[str]:
    """What a file or package imports of others, be it through modules of ours."""
    found: set[str] = set()
    for path in _files(unit):
        for name in _imports(path, of_types_too=False):
            inner = _unit(name)
            if inner is None:
                found.add(name.split(".")[0])
            elif inner not in ("cli", unit):
                found |= _third_party(inner)
    return frozenset(found)


@pytest.mark.parametrize("unit", WITHOUT_TORCH)
def test_right_of_the_cache_nothing_imports_torch_even_when_it_runs(unit):
    # `compare --failed` alone looks into Optuna's storage.
    banned = {"torch", "torchvision"} | (set() if unit == "cli/compare" else {"optuna"})
    assert not _third_party(unit) & banned


@pytest.mark.parametrize("unit", ["families", "train", "fit", "tune", "cli/tune"])
def test_the_search_for_torch_finds_it_where_it_is(unit):
    assert "torch" in _third_party(unit)


def test_what_the_package_offers_is_there_and_is_listed():
    for name in ensemble_ad.__all__:
        assert getattr(ensemble_ad, name) is not None
    assert dir(ensemble_ad) == sorted(ensemble_ad.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ensemble_ad.nothing
