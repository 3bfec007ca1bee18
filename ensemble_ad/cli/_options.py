"""Options that several commands have."""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ensemble_ad.cli import _folders, _outputs
from ensemble_ad.cli._output import Say, start
from ensemble_ad.data.conversion import DEFAULT_FIT
from ensemble_ad.data.fit import FITS
from ensemble_ad.errors import UsageError
from ensemble_ad.files.output import STDOUT
from ensemble_ad.layout import at_home

__all__ = [
    "Say",
    "anyway",
    "artifacts",
    "backend",
    "data",
    "device",
    "fit",
    "ground_truth",
    "groups",
    "labels",
    "no_look",
    "output",
    "precision",
    "scheduler",
    "storage",
    "studies",
    "submissions",
    "tiles",
    "train_anyway",
    "verbosity",
]

Command = TypeVar("Command", bound=Callable[..., Any])
_YEAR = 8760 * 3600.0
_HOME = re.compile(r"(sqlite:///|file://)/?(~.*)")


class _Path(click.Path):
    """A path; `~` is the home folder also where no shell has seen it: in `--data=~/x`, a variable, or ensad.toml."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("it is empty; leave the option out, or name a path", param, ctx)
        return super().convert(at_home(value), param, ctx)


class _Output(_Path):
    """A path to write to; `-` is standard output where a file is written, and no name of a folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if os.fspath(value) != "-":
            return super().convert(value, param, ctx)
        if not self.file_okay:
            self.fail("a folder does not go through a pipe; name one, and one that is called so ./-", param, ctx)
        return STDOUT


class _Url(click.ParamType[str]):
    """A URL; `~` at the beginning of its path is the home folder."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = _HOME.fullmatch(value)
        return value if found is None else found[1] + str(at_home(found[2]))


class _Duration(click.ParamType[float]):
    """Seconds: `90s`, `30m`, `2h`, `1h30m`, or a bare number of seconds."""

    name = "duration"
    _FORM = re.compile(r"(?=.)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = self._FORM.fullmatch(str(value).strip().lower())
        if found is None:
            self.fail(f"{value!r} is no time; write 90s, 30m, 2h or 1h30m", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        total = 3600 * hours + 60 * minutes + seconds
        if total > _YEAR:
            self.fail(f"{value!r} is more than a year; write 8760h at most", param, ctx)
        return total


DURATION = _Duration()
FOLDER = _Path(file_okay=False, path_type=Path)
FILE = _Path(dir_okay=False, path_type=Path)
PATH = _Path(path_type=Path)
OUTPUT_FOLDER = _Output(file_okay=False, path_type=Path)
OUTPUT_FILE = _Output(dir_okay=False, path_type=Path)
OUTPUT = _Output(path_type=Path)
URL = _Url()
data = click.option(
    "--data", type=FOLDER, default=_folders.DATA, show_default=True,
    help="Folder with trainingset.npy and testingset.npy, or with train/ and test/ full of images.",
)  # fmt: skip
groups = click.option(
    "--groups", type=PATH,
    help="CSV file ID,group of training images that belong together, or `folders`, the folders in train/: a group is "
    "held out or trained on as a whole.",
)  # fmt: skip
fit = click.option(
    "--fit", type=click.Choice(FITS), default=DEFAULT_FIT, show_default=True,
    help="How pictures that are not square, or of several sizes, become square: mirrored beside themselves, squashed, "
    "or cut at their ends. It belongs to the data set; `ensad score` does the same to new pictures.",
)  # fmt: skip
studies = click.option(
    "--studies", type=FOLDER, default=Path("studies"), show_default=True,
    help="Folder of studies, members and blends.",
)  # fmt: skip
submissions = click.option(
    "--submissions", type=FOLDER, default=Path("submissions"), show_default=True,
    help="Folder of submissions.",
)  # fmt: skip
labels = click.option("--labels", type=FILE, help="CSV file with the columns ID,label; 1 = anomaly.")
ground_truth = click.option(
    "--labels", type=PATH,
    help="CSV file with the columns ID,label, 1 = anomaly; or the test images' folder, whose folders are named after "
    "kinds of anomaly, `good` after none.",
)  # fmt: skip
storage = click.option("--storage", type=URL, help="Optuna storage URL.  [default: SQLite in the studies' folder]")
artifacts = click.option(
    "--artifacts", type=URL, help="Where members travel: file:///FOLDER or s3://BUCKET; see `ensad pull`."
)
backend = click.option(
    "--backend", default="loky", show_default=True,
    help="What joblib starts workers with: loky (here), dask, or another that is registered.",
)  # fmt: skip
scheduler = click.option("--scheduler", help="Address of a Dask scheduler, tcp://HOST:8786, for --backend dask.")
device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, or one of several GPUs: cuda:0, cuda:1, ..."
)
precision = click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True,
    help="What models are trained in; auto is bf16 where the device has it, fp16 on older GPUs. Scores are always "
    "computed in fp32.",
)  # fmt: skip

tiles = click.option(
    "--tiles", type=int, metavar="SIDE",
    help="Cut pictures into overlapping tiles of that side, for small faults in large pictures.  [default: whole]",
)  # fmt: skip
no_look = click.option(
    "--no-look", is_flag=True, help="Read no test image before `ensad submit`, for contests that forbid it."
)
train_anyway = click.option(
    "--anyway", is_flag=True, help="Train though `ensad data check` finds an error, which makes that worthless."
)
anyway = click.option(
    "--anyway", is_flag=True, help="Go on though the images in the data folder are not those that the scores are of."
)


def verbosity(command: Command) -> Command:
    """Give a command -q and -v, and pass it `say`."""

    @click.option("-q", "--quiet", is_flag=True, help="Say nothing but results, warnings and errors.")
    @click.option("-v", "--verbose", count=True, help="Say more.")
    @functools.wraps(command)
    def wrapped(*args: Any, quiet: bool, verbose: int, as_json: bool = False, **kwargs: Any) -> Any:
        say = start(-1 if quiet else verbose, as_json=as_json)
        output = kwargs.get("output") or kwargs.get("template")
        if output is not None:
            if as_json and output == STDOUT:
                raise UsageError("--json prints on standard output, and -o - writes there too; leave one of them out")
            _outputs.check_named(output, {name: value for name, value in kwargs.items() if value is not output})
        return command(*args, say=say, **kwargs)

    return wrapped  # type: ignore[return-value]


def output(command: Command) -> Command:
    """Give a command -q, -v and --json, and pass it `say`, by which it gives its result."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, also of an error.")
    return as_json(verbosity(command))
