"""Options that several commands have, and what is said on which stream."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)

data = click.option(
    "--data", envvar="ENSAD_DATA", type=_FOLDER, default=Path("data"), show_default=True,
    help="Folder with trainingset.npy and testingset.npy, or with train/ and test/ full of images.",
)  # fmt: skip
studies = click.option(
    "--studies", envvar="ENSAD_STUDIES", type=_FOLDER, default=Path("studies"), show_default=True,
    help="Folder of studies, members and blends.",
)  # fmt: skip
submissions = click.option(
    "--submissions", envvar="ENSAD_SUBMISSIONS", type=_FOLDER, default=Path("submissions"), show_default=True,
    help="Folder of submissions.",
)  # fmt: skip
labels = click.option(
    "--labels",
    envvar="ENSAD_LABELS",
    type=_FILE,
    default=None,
    help="CSV file with the columns ID,label; 1 = anomaly.",
)

precision = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="What models are trained in; auto is bf16 where the device has it. Scores are always computed in fp32.",
)


class Say:
    """Human text, on stderr: nothing with -q, more with -v."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __call__(self, text: str = "") -> None:
        """Say what most want to read."""
        if self.level >= 0:
            click.echo(text, err=True)

    def detail(self, text: str) -> None:
        """Say what is only for -v."""
        if self.level >= 1:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Say what even -q wants to read."""
        click.echo(f"warning: {text}", err=True)

    @property
    def live(self) -> bool:
        """Whether a progress bar can be drawn."""
        return self.level >= 0 and sys.stderr.isatty()


def verbosity(command: Command) -> Command:
    """Give a command -q and -v, and pass it `say`."""

    @click.option("-q", "--quiet", is_flag=True, help="Say nothing but results, warnings and errors.")
    @click.option("-v", "--verbose", count=True, help="Say more.")
    @functools.wraps(command)
    def wrapped(*args: Any, quiet: bool, verbose: int, **kwargs: Any) -> Any:
        return command(*args, say=Say(-1 if quiet else verbose), **kwargs)

    return wrapped  # type: ignore[return-value]
