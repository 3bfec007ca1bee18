"""`ensad pull`."""

from pathlib import Path

import click

from ensemble_ad.cli import _options


@click.command(short_help="Fetch the members that other machines have made.")
@click.option("--storage", envvar="ENSAD_STORAGE", required=True, help="Optuna storage URL of the studies.")
@click.option("--artifacts", envvar="ENSAD_ARTIFACTS", required=True, help="Where members travel: file:///FOLDER or "
              "s3://BUCKET.")  # fmt: skip
@_options.studies
@_options.verbosity
def pull(storage: str, artifacts: str, studies: Path, say: _options.Say) -> None:
    """Fetch the members of all studies in a storage that are not in the studies' folder yet.

    After it, `ensad blend` and `ensad compare` see what every machine has made. Prints the keys of what it fetched.

    \b
    Example:
      ensad pull --storage postgresql://user@host/ensad --artifacts s3://bucket
    """
    from ensemble_ad.artifacts import Artifacts
    from ensemble_ad.study_storage import open_storage

    store = Artifacts(artifacts)
    fetched, problems = store.pull(open_storage(studies, storage).backend, studies)
    for problem in problems:
        say.warn(problem)
    say(f"{len(fetched)} members fetched")
    for key in fetched:
        click.echo(key)
