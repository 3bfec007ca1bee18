"""`ensad dashboard`."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from ensemble_ad.cli import _options
from ensemble_ad.errors import FIRST_STUDY


@click.command(short_help="Start Optuna's dashboard on the studies.")
@_options.storage
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@_options.studies
@_options.verbosity
def dashboard(storage: str | None, host: str, port: int, studies: Path, say: _options.Say) -> None:
    """Serve optuna-dashboard on the storage that `ensad tune` writes, until Ctrl-C.

    \b
    Example:
      ensad dashboard
      ensad dashboard --storage postgresql://user@server/studies --port 8090
    """
    from importlib.util import find_spec

    from ensemble_ad.errors import StorageError, UsageError
    from ensemble_ad.extras import how_to_install
    from ensemble_ad.layout import studies_database

    if find_spec("optuna_dashboard") is None:
        raise UsageError(f"ensad dashboard needs optuna-dashboard: {how_to_install('dashboard')}")
    if storage is None and not studies_database(studies).exists():
        raise UsageError(f"there is no study in {studies}; run `{FIRST_STUDY}` first")
    from optuna_dashboard import run_server

    from ensemble_ad.search.database import Database
    from ensemble_ad.search.storage import open_storage

    if not Database.named(studies, storage).is_there:
        raise StorageError("the storage named by --storage is not there; name the one that `ensad tune` was given")

    opened = open_storage(studies, storage)
    say(f"Optuna's dashboard of {opened.where} at http://{host}:{port}/ until Ctrl-C")
    _until_interrupted(lambda: run_server(opened.backend, host=host, port=port), f"{host}:{port}")


def _until_interrupted(serve: Callable[[], None], where: str) -> None:
    """Serve until Ctrl-C, which the thread that answers a request would take for an error of that request.

    Raises:
        StorageError: if the port is taken.
    """
    from threading import Thread

    from ensemble_ad.errors import StorageError

    refused: list[OSError] = []

    def serving() -> None:
        try:
            serve()
        except OSError as error:
            refused.append(error)

    thread = Thread(target=serving, daemon=True)
    thread.start()
    with suppress(KeyboardInterrupt):
        while thread.is_alive():
            thread.join(0.5)
    if refused:
        raise StorageError(f"cannot listen at {where}: {refused[0].strerror}; name another with --port")
