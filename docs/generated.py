"""Parts of the site that are read off the code, so that they cannot go stale."""

import inspect
import re
from pathlib import Path

# With what a class inherits of ours, without what scikit-learn's mixins bring along.
_MEMBERS = "\n   :members:\n   :inherited-members: BaseEstimator"
_MEMBERS += "\n   :exclude-members: fit_predict, get_metadata_routing, set_fit_request"
_OPTIONAL = re.compile(r"^([a-z-]+)\?\n", re.MULTILINE)
_LONG = (
    (re.compile(r"TypeAliasForwardRef\('(\w+)'\)"), r"\1"),
    (
        re.compile(r"[~\w.]*_Buffer \| .*? \| [~\w.]*_NestedSequence\[complex \| bytes \| str\]"),
        "~numpy.typing.ArrayLike",
    ),
    (
        re.compile(r"[~\w.]*\bndarray\[tuple\[[~\w.]*\bAny, \.\.\.\], [~\w.]*\bdtype\[([~\w.]+)\]\]"),
        r"~numpy.typing.NDArray[\1]",
    ),
)
_MARK = re.compile(r"<!-- generated: (\w+) -->")


def fill_in(app, docname, source):
    """Sphinx calls this for every page it reads; `source` is a list of one text."""
    source[0] = _MARK.sub(lambda mark: _PAGES[mark[1]](), source[0])
    if docname == app.config.root_doc:
        # A page with a question mark is listed once it is there.
        source[0] = _OPTIONAL.sub(
            lambda page: f"{page[1]}\n" * (Path(app.confdir) / f"{page[1]}.md").exists(), source[0]
        )


def readable(app, what, name, thing, options, signature, returns):
    """Sphinx calls this for every signature: what numpy spells out on half a page gets its name back."""
    for pattern, short in _LONG:
        signature, returns = (text and pattern.sub(short, text) for text in (signature, returns))
    return signature, returns


def families() -> str:
    """Every family with its presets, their sources and what a study searches, as Markdown."""
    from ensemble_ad.families import FAMILIES
    from ensemble_ad.families.catalogue import catalogue, common_search
    from ensemble_ad.search.plan import TuneSettings

    parts = []
    for family in catalogue(TuneSettings.epochs):
        module = inspect.getmodule(FAMILIES[family["name"]].architecture)
        multiple = family["side_multiple"]
        facts = [
            "sides of 16 to 256 pixels" + ("" if multiple == 1 else f", multiples of {multiple}"),
            "" if family["reconstructs"] else "does not reconstruct",
            "trained on the unlabelled test images: has to be allowed with `--transductive`" * family["transductive"],
        ]
        parts += [f"## {family['name']}", _upper(family["summary"]) + ".", _prose(module.__doc__)]
        parts += [_upper("; ".join(fact for fact in facts if fact)) + "."]
        parts += [_table(("preset", "source", "architecture"), [
            (f"`{preset['name']}`", preset["source"], _settings(preset["architecture"])) for preset in family["presets"]
        ])]  # fmt: skip
        parts += ["A study searches:", _space(family["search"])]
    parts += ["## What every study searches besides", "Unless the family says otherwise above:"]
    parts += [_space(common_search(TuneSettings.epochs))]
    return "\n\n".join(parts)


def cli() -> str:
    """Every command with its arguments and options, for sphinx-click."""
    return "```{eval-rst}\n.. click:: ensemble_ad.cli:main\n   :prog: ensad\n   :nested: full\n```"


def api() -> str:
    """Every public name with its docstring, for autodoc."""
    import ensemble_ad as ea

    names = [name for name in ea.__all__ if not name.startswith("_")]
    classes = [name for name in names if inspect.isclass(getattr(ea, name))]
    errors = [name for name in classes if issubclass(getattr(ea, name), Exception)]
    detectors = [name for name in classes if name.endswith("Detector")]
    groups = (
        ("Functions", [name for name in names if name not in classes]),
        ("Detectors", detectors),
        ("What the functions give", [name for name in classes if name not in (*errors, *detectors)]),
        ("Errors", errors),
    )
    parts = []
    for title, members in groups:
        places = "\n".join(f"   ensemble_ad.{name}" for name in members)
        parts += [f"## {title}", f"```{{eval-rst}}\n.. autosummary::\n   :nosignatures:\n\n{places}\n```"]
        for name in members:
            kind = "autofunction" if name not in classes else "autoexception" if name in errors else "autoclass"
            options = "" if name not in classes or name in errors else _MEMBERS
            parts += [f"### `ea.{name}`", f"```{{eval-rst}}\n.. {kind} :: ensemble_ad.{name}{options}\n```"]
    return "\n\n".join(parts).replace(" ::", "::")


_PAGES = {"families": families, "cli": cli, "api": api}


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _prose(docstring: str | None) -> str:
    """What a module says below its first line."""
    return inspect.cleandoc(docstring or "").partition("\n\n")[2]


def _settings(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def _space(values: dict[str, str]) -> str:
    return _table(("hyperparameter", "values"), [(f"`{name}`", text) for name, text in values.items()])


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
