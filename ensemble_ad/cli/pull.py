"""`ensad pull`."""

from pathlib import Path

import click

from ensemble_ad.cli import _options


@click.command(short_help="Fetch the members that other machines have made.")
@click.option("--storage", type=_options.URL, required=True, help="Optuna storage URL of the studies.")
@click.option("--artifacts", type=_options.URL, required=True, help="Where members travel: file:///FOLDER or "
              "s3://BUCKET.")  # fmt: skip
@_options.studies
@_options.output
def pull(storage: str, artifacts: str, studies: Path, say: _options.Say) -> None:
    """Fetch the members of all studies in a storage that are not in the studies' folder yet.

    After it, `ensad blend` and `ensad compare` see what every machine has made. Prints the keys of what it fetched.

    \b
    Example:
      ensad pull --storage postgresql://user@host/ensad --artifacts s3://bucket
    """
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import counted
    from ensemble_ad.members.store import list_members
    from ensemble_ad.search.storage import open_storage
    from ensemble_ad.search.travel import Artifacts

    store = Artifacts(artifacts)
    with counted(say, None) as steps:
        fetched, problems = store.pull(open_storage(studies, storage).backend, studies, tick=steps.done)
    for problem in problems:
        say.warn(problem)
    say(f"{len(fetched)} members fetched")
    say.result("\n".join(fetched) or None, members=fetched, problems=problems)
    say.next(_folders.blending(studies, list_members(studies)[0]), "ensad compare")
