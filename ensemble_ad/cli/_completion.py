"""What a shell completes: the names of families, presets, members and blends, found without importing torch."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli._config import SETTINGS
from ensemble_ad.layout import at_home, family_of

if TYPE_CHECKING:
    import ast

    from click.shell_completion import CompletionItem

_FAMILIES = Path(__file__).parent.parent / "families"


def families(context: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of families, with their summaries."""
    return _beginning(incomplete, ((name, summary) for name, summary, _ in _read()))


def family_names() -> set[str]:
    """The names of all families."""
    return {name for name, _, _ in _read()}


def presets(context: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of presets, with their families."""
    return _beginning(incomplete, ((preset, name) for name, _, found in _read() for preset in found))


def blends(context: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names of the blends in the studies' folder."""
    return _beginning(incomplete, ((name, "") for name in _folders(context, "blends")))


def members(context: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The last of a comma-separated list of families and members' keys."""
    before, comma, last = incomplete.rpartition(",")
    cached = _folders(context, "members")
    kinds = dict.fromkeys(map(family_of, cached))
    found = _beginning(last, ((name, "") for name in (*kinds, *cached)))
    for item in found:
        item.value = f"{before}{comma}{item.value}"
    return found


def keys(context: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """One member's key."""
    return _beginning(incomplete, ((key, "") for key in _folders(context, "members")))


def methods(context: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The ways to weight that need nothing but their name."""
    from ensemble_ad.blend import method_names

    return _beginning(incomplete, ((name, "") for name in method_names() if name not in ("given", "labels")))


def objectives(context: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """What a trial can be judged by."""
    from ensemble_ad.members.objectives import AUTO, OBJECTIVES

    return _beginning(incomplete, ((name, "") for name in (AUTO, *OBJECTIVES)))


def _beginning(incomplete: str, names: Iterable[tuple[str, str]]) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    return [CompletionItem(name, help=text or None) for name, text in names if name.startswith(incomplete)]


def _folders(context: click.Context, kind: str) -> list[str]:
    """Names of the folders in `studies/<kind>/`, by the flag, the environment, ensad.toml or the default."""
    import tomllib

    studies = context.params.get("studies")
    source = context.get_parameter_source("studies")
    if source == click.core.ParameterSource.DEFAULT and SETTINGS.exists():
        # The command itself says what is wrong with the file.
        with contextlib.suppress(tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
            studies = tomllib.loads(SETTINGS.read_text(encoding="utf-8-sig")).get("studies", studies)
    place = at_home(str(studies or "studies")) / kind
    if not place.is_dir():
        return []
    return sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read() -> Iterator[tuple[str, str, list[str]]]:
    """Name, summary and presets of each family, read off the source: importing it would take seconds."""
    import ast

    for path in sorted(_FAMILIES.glob("[!_]*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Family":
                found = {word.arg: word.value for word in node.keywords}
                yield _text(found["name"]), _text(found["summary"]), _keys(found["presets"])


def _text(node: "ast.expr") -> str:
    import ast

    return str(ast.literal_eval(node))


def _keys(node: "ast.expr") -> list[str]:
    import ast

    return [_text(key) for key in node.keys if key is not None] if isinstance(node, ast.Dict) else []
