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
    from ensemble_ad.errors import StorageError
    from ensemble_ad.members.store import list_members
    from ensemble_ad.search.artifacts import Artifacts
    from ensemble_ad.search.storage import reading
    from ensemble_ad.search.travel import pull as fetch

    store = Artifacts(artifacts)
    store.check()
    with reading(studies, storage) as backend:
        if backend is None:
            raise StorageError(
                "the storage named by --storage holds no study; name the one that `ensad tune` was given"
            )
        with counted(say, None) as steps:
            fetched, problems, unsent = fetch(store, backend, studies, tick=steps.done)
    for problem in problems:
        say.warn(problem)
    if unsent:
        say.warn(
            f"{len(unsent)} members that other machines have made were not uploaded ({', '.join(unsent[:3])}, ...): "
            "they were tuned without --artifacts"
        )
    say(f"{len(fetched)} members fetched")
    say.result("\n".join(fetched) or None, members=fetched, problems=problems, unsent=unsent)
    say.next(_folders.blending(studies, list_members(studies)[0]), "ensad compare")
    if problems:
        raise StorageError(
            f"{len(problems)} members could not be fetched, and the warnings say why; run the command again when they "
            "are there, or make them again"
        )
