"""What a command says and on which stream: text for people, or one JSON document for scripts (`--json`)."""

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import click

from ensemble_ad.cli._hints import Hints
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.version import __version__

FORMAT = 1
"""The document's format; it rises when a field changes its meaning or goes, not when one is added."""

_KEY = "ensemble_ad.say"
_NOTES = "ensemble_ad.notes"
_COMMAND = re.compile(r"`[^`]+`")
_NO_BREAK = "\ue000"  # stands for a space while lines are broken; of Unicode's private use, as no text of ours has it
_KINDS = {2: "usage", 3: "data", 4: "storage", 130: "interrupted"}
Invoke = TypeVar("Invoke", bound=Callable[..., Any])


class Say:
    """Human text goes to stderr: nothing with -q, more with -v. The result goes to stdout, as text or as JSON."""

    def __init__(self, level: int, *, as_json: bool = False, command: str = "", hints: Hints | None = None) -> None:
        self.level = level
        self.as_json = as_json
        self.command = command
        self.hints = hints
        self.fields: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.following: list[str] = []
        self._written: set[str] | None = None

    def __call__(self, text: str = "") -> None:
        """Say what most want to read."""
        if self.level >= 0:
            click.echo(in_lines(self.completed(text)), err=True)

    def detail(self, text: str) -> None:
        """Say what is only for -v."""
        if self.level >= 1:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Say what even -q wants to read."""
        text = self.completed(text)
        self.warnings.append(text)
        click.echo(in_lines(f"warning: {text}"), err=True)

    def next(self, *commands: str, where: str = "", **places: str) -> None:
        """Hint at what to run next, one command or several to choose from.

        Args:
            commands: as they are typed; `Hints.completed` adds the user's own options.
            where: another place that they are for, where the folders of this one mean nothing.
            places: what else is known; see `Hints.completed`.
        """
        self.following = [
            command if where or self.hints is None else self.hints.completed(command, **places) for command in commands
        ]
        if self.level >= 0:
            # Not wrapped, nor completed once more: a terminal gives a line back whole where its window has broken it.
            click.echo(f"next{where and ', ' + where}: {', or '.join(self.following)}", err=True)

    def again(self, *without: str, **changed: object) -> None:
        """Hint at running the same command again; see `Hints.again`."""
        assert self.hints is not None
        self.next(self.hints.again(*without, **changed))

    def completed(self, text: str) -> str:
        """`text` with the user's own options in the commands that it names."""
        return text if self.hints is None else self.hints.in_text(text)

    def result(self, text: str | None = None, **fields: Any) -> None:
        """Give a part of the result.

        Args:
            text: what stdout gets without `--json`.
            fields: what the document's `result` gets; see `plain`.
        """
        self.fields |= fields
        if text is not None and not self.as_json:
            click.echo(text)

    @contextmanager
    def listed(self, name: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Write the document's beginning, then objects as they come, into the list `name` of its result.

        Only with `--json`; memory stays bounded. Fields of the result that are given later stand behind the list.
        """
        head = _document(self._head())
        inner = _document(self.fields)
        click.echo(f'{head[:-1]}, "result": {inner[:-1]}{", " if self.fields else ""}"{name}": [', nl=False)
        self._written = set(self.fields)
        separator = "\n"

        def write(row: Mapping[str, Any]) -> None:
            nonlocal separator
            sys.stdout.write(separator + _document(row))
            separator = ",\n"

        yield write

    def close(self, error: Mapping[str, Any] | None = None) -> None:
        """Write the document, or the rest of it."""
        rest = {"ok": error is None, "error": error, "warnings": self.warnings, "next": self.following}
        if self._written is not None:
            later = {key: value for key, value in self.fields.items() if key not in self._written}
            click.echo(f"\n]{', ' if later else ''}{_document(later)[1:]}, {_document(rest)[1:]}")
        else:
            click.echo(_document({**self._head(), "result": self.fields, **rest}, indent=1))

    def _head(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": __version__, "command": self.command}

    @property
    def live(self) -> bool:
        """Whether a progress bar can be drawn."""
        return self.level >= 0 and sys.stderr.isatty()


def in_lines(text: str) -> str:
    """`text` as a terminal shows it best: long lines end between words, and no command in backticks is broken.

    A pipe or a file gets it as it is, and so do lines that are to be pasted, which begin with spaces.
    """
    if not sys.stderr.isatty():
        return text
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    lines = []
    for line in text.split("\n"):
        if len(line) <= width or line.startswith(" "):
            lines.append(line)
            continue
        whole = _COMMAND.sub(lambda found: found[0].replace(" ", _NO_BREAK), line)
        folded = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)
        lines += [part.replace(_NO_BREAK, " ") for part in folded]
    return "\n".join(lines)


def start(level: int, *, as_json: bool) -> Say:
    """The `Say` of the command that is running now."""
    context = click.get_current_context()
    say = Say(level, as_json=as_json, command=_name(context), hints=Hints(context))
    context.meta[_KEY] = say
    for warning in context.meta.pop(_NOTES, ()):
        say.warn(warning)
    _refuse_empty(context)
    return say


def note(context: click.Context, warnings: Iterable[str]) -> None:
    """Have the command that is going to run begin with these warnings."""
    context.meta[_NOTES] = warnings


def _refuse_empty(context: click.Context) -> None:
    """A value that is empty is a script's variable without one, and would mean the default, or everything.

    Raises:
        UsageError: if a value is.
    """
    for param in context.command.params:
        if context.params.get(param.name or "") == "":
            shown = max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name
            raise UsageError(f"{shown} is empty; leave it out, or give it a value")


def completed(context: click.Context, text: str) -> str:
    """What an error of the command that was started last says, with the user's own options in its hints."""
    return current(context).completed(text) if _KEY in context.meta else text


def current(context: click.Context) -> Say:
    """The `Say` of the command that was started last."""
    say: Say = context.meta[_KEY]
    return say


def restore(context: click.Context, say: Say) -> None:
    """Make `say` that of the running command again, after others ran inside it."""
    context.meta[_KEY] = say


def documented(invoke: Invoke) -> Invoke:
    """Around a group's `invoke`: with `--json` stdout gets one document, whatever happens; errors go on as they are."""

    @functools.wraps(invoke)
    def wrapped(group: click.Group, context: click.Context) -> Any:
        if context.parent is not None:  # the demo runs commands inside its own, and gathers what they give
            return invoke(group, context)
        # Known before the command is parsed, since that may fail.
        asked = "--json" in context.args
        try:
            value = invoke(group, context)
        except click.ClickException as error:
            place = getattr(error, "ctx", None) or context
            say = context.meta.get(_KEY) or Say(-1, as_json=asked or _asks_for_json(place), command=_name(place))
            if say.as_json:
                kind = _KINDS.get(error.exit_code, "other")
                with suppress(StorageError):  # where stdout fails too, the first error is what is said
                    say.close({"kind": kind, "message": error.format_message(), "exit_code": error.exit_code})
            raise
        if _KEY in context.meta and current(context).as_json:
            current(context).close()
        return value

    return wrapped  # type: ignore[return-value]


def _asks_for_json(place: click.Context) -> bool:
    """Whether a variable or ensad.toml asks for JSON, of a command that could not be parsed."""
    option = next((param for param in place.command.params if param.name == "as_json"), None)
    if option is None:
        return False
    with suppress(click.UsageError):
        return bool(option.type_cast_value(place, option.consume_value(place, {})[0]))
    return False


def _name(context: click.Context) -> str:
    """The command as it is typed, such as `data check`; empty for `ensad` itself."""
    return context.command_path.partition(" ")[2]


def _document(value: Mapping[str, Any], indent: int | None = None) -> str:
    import json  # here, since `ensad --help` writes none

    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers of numpy and paths too, NaN and infinity as null, a table as a list of rows."""
    if hasattr(value, "to_json"):  # a DataFrame; pandas knows its missing values and dates
        import json

        text = value.reset_index().to_json(orient="records", date_format="iso", date_unit="us", double_precision=15)
        return json.loads(text)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
