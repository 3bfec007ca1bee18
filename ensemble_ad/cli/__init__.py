"""The command line: a file a command, thin; here they come together and errors become exit codes.

No module here imports more than click at its top: `ensad --help` is quick and only commands that train load torch.
"""

import errno
from typing import Any

import click

from ensemble_ad.cli.audit import audit
from ensemble_ad.cli.blend import blend
from ensemble_ad.cli.compare import compare
from ensemble_ad.cli.dashboard import dashboard
from ensemble_ad.cli.data import data
from ensemble_ad.cli.demo import demo
from ensemble_ad.cli.evaluate import evaluate
from ensemble_ad.cli.export import export
from ensemble_ad.cli.families import families
from ensemble_ad.cli.import_ import import_
from ensemble_ad.cli.latent import latent
from ensemble_ad.cli.pull import pull
from ensemble_ad.cli.report import report
from ensemble_ad.cli.score import score
from ensemble_ad.cli.submit import submit
from ensemble_ad.cli.train import train
from ensemble_ad.cli.tune import tune
from ensemble_ad.config import FILE, read_defaults
from ensemble_ad.errors import EnsadError, Interrupted, StorageError
from ensemble_ad.version import __version__


class _CleanExit(click.ClickException):
    """An EnsadError on its way out: one line on stderr and its exit code."""

    def __init__(self, error: EnsadError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]


class _Group(click.Group):
    """Turns the program's own errors, and Ctrl-C, into clean exits."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            if ctx.parent is None:  # the demo runs commands inside its own, and they are to be what it shows
                ctx.default_map = read_defaults(FILE, self._options())
            return super().invoke(ctx)
        except EnsadError as error:
            raise _CleanExit(error) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when a pipe is closed, as by `head`
                raise
            raise _CleanExit(
                StorageError(f"cannot use {error.filename}: {error.strerror}; look at that path")
            ) from error
        except KeyboardInterrupt:
            raise _CleanExit(Interrupted("interrupted")) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def _options(self) -> dict[str, dict[str, str]]:
        commands: dict[str, click.Command] = {}
        for name, command in self.commands.items():
            inner = command.commands if isinstance(command, click.Group) else None
            commands |= {name: command} if inner is None else {f"{name} {n}": c for n, c in inner.items()}
        return {name: _keys(command) for name, command in commands.items()}


def _keys(command: click.Command) -> dict[str, str]:
    """The parameter of each option by its flag, as in `max-width` of `--max-width`."""
    return {
        flag.removeprefix("--"): param.name
        for param in command.params
        if isinstance(param, click.Option) and param.name
        for flag in param.opts
        if flag.startswith("--")
    }


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ensad")
def main() -> None:
    """Turn normal images and unlabelled test images into one anomaly score an image.

    Autoencoders are tuned with Optuna, their error vectors are cached, blended by rank, judged and handed in:

    \b
      ensad demo                              the whole job on bundled images, in two minutes
      ensad tune --family fcn --trials 50     tune a family on data/trainingset.npy
      ensad blend --members fcn,resnet        blend the best members
      ensad submit                            write the CSV to hand in

    Settings come from flags, then ENSAD_* environment variables, then ensad.toml in this folder.
    Exit codes: 0 done, 2 wrong usage, 3 unusable data, 4 storage trouble, 130 interrupted, 1 anything else.
    """


for command in (
    demo, data, families, tune, train, blend, evaluate, compare, report, latent, audit, submit, score, export, import_,
    pull, dashboard,
):  # fmt: skip
    main.add_command(command)
