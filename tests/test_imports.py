"""Imports run one way: between the rooms in the order of `ROOMS`, within a room without a circle; few need torch."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ensemble_ad

ROOT = Path(ensemble_ad.__file__).parent
# A room may import those below it, and the modules of the package's root that lie under all of them.
ROOMS = (
    "cli", "results", "detect", "anytime", "search", "blend", "training", "members", "families", "data", "statistics",
    "files",
)  # fmt: skip
UNDER_ALL = ("bar", "errors", "extras", "version", "layout")
ABOVE_ALL = ("__init__", "__main__")
WITHOUT_TORCH = ("files", "statistics", "data", "members", "blend")
# Commands that never train nor score pictures.
COMMANDS_WITHOUT_TORCH = ("audit", "blend", "compare", "data", "evaluate", "submit")


def _modules() -> dict[str, Path]:
    """Every module's file by its dotted name within the package; a package's is that of its `__init__`."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


MODULES = _modules()


def _room(module: str) -> str:
    return module.partition(".")[0]


@cache
def _imports(module: str, of_types_too: bool) -> frozenset[str]:
    """What a module imports anywhere in it: modules of ours by their names, of others the top-level package."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types and not of_types_too:
            continue
        if isinstance(node, ast.Import):
            found |= {_named(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            found |= {_named(f"{node.module}.{alias.name}") for alias in node.names}
    return frozenset(found - {module})


def _named(dotted: str) -> str:
    """The module of ours that a dotted name is or lies in, else the package of others."""
    if not dotted.startswith("ensemble_ad"):
        return dotted.partition(".")[0]
    inner = dotted.removeprefix("ensemble_ad").removeprefix(".")
    while inner and inner not in MODULES:
        inner = inner.rpartition(".")[0]
    return inner or "__init__"


def _of_ours(module: str) -> set[str]:
    return {name for name in _imports(module, of_types_too=True) if name in MODULES}


def test_everything_lies_in_a_room():
    assert {_room(module) for module in MODULES} <= {*ROOMS, *UNDER_ALL, *ABOVE_ALL}
    assert {path.name for path in ROOT.iterdir() if path.is_dir()} - {"__pycache__"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room):
    allowed = {*ROOMS[ROOMS.index(room) :], *UNDER_ALL}
    for module in (name for name in MODULES if _room(name) == room):
        upward = {name for name in _of_ours(module) if _room(name) not in allowed}
        assert not upward, f"{module} imports {sorted(upward)}"


@pytest.mark.parametrize("module", [name for name in UNDER_ALL if name in MODULES])
def test_what_lies_under_all_rooms_imports_none(module):
    assert _of_ours(module) <= set(UNDER_ALL)


@pytest.mark.parametrize("room", ROOMS)
def test_within_a_room_there_is_no_circle(room):
    inside = [name for name in MODULES if _room(name) == room and not MODULES[name].name.startswith("__init__")]
    graph = {module: _of_ours(module) & set(inside) for module in inside}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@cache
def _third_party(module: str) -> frozenset[str]:
    """What a module imports of others, be it through modules of ours; importing one runs its packages as well."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in MODULES:
            seen.add(name)
            continue
        seen.add(name)
        waiting += _imports(name, of_types_too=False) | _packages(name)
    return frozenset(name for name in seen if name not in MODULES)


def _packages(module: str) -> set[str]:
    return {name for name in (module.rpartition(".")[0],) if name in MODULES}


def _without_torch() -> Iterator[str]:
    yield from (name for name in MODULES if _room(name) in (*WITHOUT_TORCH, *UNDER_ALL))
    yield from ("cli._completion", "cli._options", "cli._output", "cli._table")
    yield from (f"cli.{command}" for command in COMMANDS_WITHOUT_TORCH)


@pytest.mark.parametrize("module", list(_without_torch()))
def test_what_needs_no_torch_imports_none_even_when_it_runs(module):
    # `compare --failed` alone looks into Optuna's storage; `submit`, `evaluate` and `blend` score what models have
    # not seen, and only then.
    torch = {"torch", "torchvision"}
    allowed = {"cli.compare": {"optuna"}, "cli.submit": torch, "cli.evaluate": torch, "cli.blend": torch}.get(
        module, set()
    )
    assert not _third_party(module) & ({"torch", "torchvision", "optuna"} - allowed)


@pytest.mark.parametrize("module", ["families", "training.loop", "training.make_member", "search.tune", "cli.tune"])
def test_the_search_for_torch_finds_it_where_it_is(module):
    assert "torch" in _third_party(module)


def test_what_the_package_offers_is_there_and_is_listed():
    for name in ensemble_ad.__all__:
        assert getattr(ensemble_ad, name) is not None
    assert dir(ensemble_ad) == sorted(ensemble_ad.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ensemble_ad.nothing
