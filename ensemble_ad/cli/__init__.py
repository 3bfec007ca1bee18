"""The command line: a thin file a command; here the commands come together, and errors become exit codes.

A command's module is imported when the command is called, and no module here imports more than click at its top:
`ensad --help` is quick and only commands that train load torch.
"""

import errno
import sys
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from keyword import iskeyword
from typing import IO, Any

import click

from ensemble_ad.cli import _streams
from ensemble_ad.cli._config import (
    SETTINGS,
    give_variables,
    has_variables,
    keys,
    read_defaults,
    unknown_variables,
    with_origin,
)
from ensemble_ad.cli._output import completed, documented, in_lines, note
from ensemble_ad.errors import EnsadError, Interrupted, StorageError, in_a_command
from ensemble_ad.version import __version__

COMMANDS = {
    "demo": "The whole job on bundled images, in two minutes.",
    "data": "Look at the data.",
    "families": "List families: what they cost here, what they are made for.",
    "run": "The best blend within a time: tunes, blends and writes the CSV.",
    "tune": "Run an Optuna study of a family, or several.",
    "train": "Train one published system.",
    "blend": "Blend cached members into one anomaly score.",
    "evaluate": "AUC of blends and members, with labels.",
    "compare": "Print the table of everything that was tried.",
    "report": "Write one HTML page about a blend.",
    "latent": "Change a model's bottleneck and see what it decodes.",
    "audit": "How well the choices without labels did.",
    "submit": "Write the CSV to hand in.",
    "submissions": "List what was handed in, with the scores that came back.",
    "score": "Score new images with a saved blend.",
    "explain": "Show where in images a blend sees anomalies.",
    "export": "Write a blend as one file for another machine.",
    "import": "Load an exported blend, or another detector's scores.",
    "pull": "Fetch the members that other machines have made.",
    "dashboard": "Start Optuna's dashboard on the studies.",
}
"""Each command's `short_help`, in the order of `ensad --help`, which imports no command for it; a test compares them.

A command is the function of its name in the module of its name; a word of Python's gets an underscore.
"""


class _Commands(MutableMapping[str, click.Command]):
    """The commands of `COMMANDS`, each imported when it is asked for, and those that are added later."""

    def __init__(self) -> None:
        self._names = list(COMMANDS)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            if name not in COMMANDS:
                raise KeyError(name)
            place = f"{name}_" if iskeyword(name) else name
            command = getattr(import_module(f"ensemble_ad.cli.{place}"), place)
            give_variables(name, command)
            self._loaded[name] = command
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._names += [] if name in self._names else [name]
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        self._names.remove(name)
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


class _CleanExit(click.ClickException):
    """An EnsadError on its way out: one line on stderr and its exit code."""

    def __init__(self, error: EnsadError, message: str | None = None) -> None:
        super().__init__(message or str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(in_lines(f"Error: {self.format_message()}"), err=True, file=file)


class _Group(click.Group):
    """Turns the program's own errors, and Ctrl-C, into clean exits."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("standalone_mode", True):
            with in_a_command():
                return super().main(*args, **kwargs)
        _streams.prepare()
        try:
            try:
                with in_a_command():
                    super().main(*args, **kwargs)
            finally:
                _streams.finish()
        except StorageError as error:  # standard output does not take the help, or the document
            _CleanExit(error).show()
            sys.exit(error.exit_code)

    @documented
    def invoke(self, ctx: click.Context) -> Any:
        try:
            if ctx.parent is None:  # the demo runs commands inside its own, and they are to be what it shows
                ctx.default_map = self._defaults()
                note(ctx, unknown_variables(self._options()) if has_variables() else ())
            return super().invoke(ctx)
        except click.BadParameter as error:
            raise with_origin(error) from error.__cause__
        except EnsadError as error:
            raise _CleanExit(error, completed(ctx, str(error))) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when a pipe is closed, as by `head`
                raise
            what = "a file" if error.filename is None else error.filename
            why = error.strerror or str(error)
            raise _CleanExit(StorageError(f"cannot use {what}: {why}; look at that path")) from error
        except KeyboardInterrupt:
            raise _CleanExit(Interrupted("interrupted")) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, COMMANDS.get(name) or self.commands[name].get_short_help_str()) for name in self.commands]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _defaults(self) -> dict[str, Any]:
        # Only a file that is there has to be held against the options of all commands.
        return read_defaults(SETTINGS, self._options()) if SETTINGS.exists() else {}

    def _options(self) -> dict[str, dict[str, str]]:
        commands: dict[str, click.Command] = {}
        for name, command in self.commands.items():
            inner = command.commands if isinstance(command, click.Group) else None
            commands |= {name: command} if inner is None else {f"{name} {n}": c for n, c in inner.items()}
        return {name: keys(command) for name, command in commands.items()}


@click.group(
    cls=_Group, commands=_Commands(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="ensad")
def main() -> None:
    """Turn normal images and unlabelled test images into one anomaly score an image.

    Autoencoders are tuned with Optuna, their error vectors are cached, blended by rank, judged and handed in:

    \b
      ensad demo                              the whole job on bundled images, in two minutes
      ensad run --time 30m                    the whole job on your own images, or by hand:
      ensad tune --family fcn --trials 50     tune a family on data/trainingset.npy
      ensad blend                             blend the best members
      ensad submit                            write the CSV to hand in

    Settings come from flags, then environment variables (ENSAD_STUDIES, ENSAD_TUNE_TRIALS, ...), then ensad.toml
    in this folder.
    With --json a command prints one JSON document, also of an error.
    Exit codes: 0 done, 2 wrong usage, 3 unusable data, 4 storage trouble, 130 interrupted, 1 anything else.
    """
