"""Optuna's storage of the studies: opened to work on them or to read, the heartbeat of a trial, and how it fails.

Whoever starts a trial or takes over a dead worker's does it in its turn (`turn`).
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import optuna
import sqlalchemy

from ensemble_ad.errors import StorageError
from ensemble_ad.files.whole import make_folder
from ensemble_ad.search.database import Database
from ensemble_ad.search.turn import connected, turn

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 180
FAILURES = (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError)
"""What Optuna or SQLAlchemy raises when a storage fails."""
# What Optuna says of a study or trial that somebody has deleted meanwhile.
_GONE = "Record does not exist"
# Where a statement fails, Optuna shows it in several lines, and tries another one. What fails for good is raised.
_SLOWER = "Caught an error from sqlalchemy"
logging.getLogger("optuna.storages._rdb.storage").addFilter(lambda record: _SLOWER not in record.getMessage())


@dataclass(frozen=True, kw_only=True)
class StudyStorage:
    """An open storage.

    Attributes:
        backend: Optuna's.
        database: where it is.
    """

    backend: optuna.storages.RDBStorage
    database: Database

    @property
    def where(self) -> str:
        """Its name in messages."""
        return self.database.where

    def turn(self) -> AbstractContextManager[None]:
        """The turn of this process, alone among all that use the storage.

        Raises:
            StorageError: if another keeps its turn for ten minutes, or the server is not reached.
        """
        return turn(self.database, self.backend.engine)

    def heartbeat(self, trial: optuna.Trial) -> "Heartbeat":
        """Tells other machines, while it is entered, that `trial` is being worked on."""
        return Heartbeat(self.backend, trial._trial_id)


class Heartbeat:
    """Optuna's heartbeat of a trial, which `Study.ask` leaves to its caller; one that fails is tried again."""

    def __init__(self, backend: optuna.storages.RDBStorage, trial_id: int) -> None:
        self._backend, self._trial_id = backend, trial_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with suppress(*FAILURES):
                self._backend.record_heartbeat(self._trial_id)
        with suppress(*FAILURES):
            self._backend.remove_session()


def open_storage(studies: Path, url: str | None) -> StudyStorage:
    """The studies' storage, made where there is none.

    Raises:
        StorageError: if it cannot be opened, or is neither SQLite nor PostgreSQL; the URL, which may hold a password,
            is not repeated.
        UsageError: if PostgreSQL's driver is not installed.
    """
    make_folder(studies)
    database = Database.named(studies, url)
    database.check_writable()
    engine = None if database.file is not None else database.engine()
    if engine is not None and _has_tables(engine, database):
        return _open(database)  # many may do so at once, since nothing has to be made
    with _failures_of(database), turn(database, engine):
        with database.begun() as empty:
            if empty is not None:
                _open(empty).backend.engine.dispose()
        return _open(database)


@contextmanager
def reading(studies: Path, url: str | None) -> Iterator[optuna.storages.RDBStorage | None]:
    """A storage to look into, be its folder read-only; None where there is none yet, and then none is made.

    Raises:
        StorageError, UsageError: as for `open_storage`.
    """
    database = Database.named(studies, url)
    if not database.is_there or (database.file is None and not _has_tables(database.engine(), database)):
        yield None
        return
    try:
        backend = optuna.storages.RDBStorage(database.read_only, skip_table_creation=True)
    except Exception as error:
        raise _cannot_open(database, error) from None
    try:
        with _deletions(database):
            yield backend
    except FAILURES as error:
        raise _cannot_open(database, error) from None
    finally:
        backend.engine.dispose()


@contextmanager
def storage_failures(studies: Path, url: str | None) -> Iterator[None]:
    """Turn whatever a storage says when it fails, at any moment, into one line.

    Args:
        studies: the studies' folder.
        url: as for `open_storage`.

    Raises:
        StorageError: naming what failed, without the URL.
    """
    with _failures_of(Database.named(studies, url)):
        yield


@contextmanager
def _failures_of(database: Database) -> Iterator[None]:
    try:
        with _deletions(database):
            yield
    except FAILURES as error:
        raise StorageError(
            f"the studies' database failed: {_cause(database, error)}; finished trials are kept, mend it and run the "
            "same command again"
        ) from None


@contextmanager
def _deletions(database: Database) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        if _GONE not in str(error):
            raise
        raise StorageError(
            f"a study or trial in {database.where} was deleted meanwhile; run the same command to begin it again"
        ) from None


def _cause(database: Database, error: BaseException) -> str:
    """Why a database has failed; of a server the kind alone, since its own words may name a user."""
    cause = error.__cause__ or error
    if database.file is None:
        return type(getattr(cause, "orig", None) or cause).__name__
    return (str(cause).splitlines() or [type(cause).__name__])[0]


def _open(database: Database) -> StudyStorage:
    # SQLite waits that many seconds for another process's write to end. A server may have closed an idle connection,
    # and has a hundred of them for all workers.
    of_file, of_server = {"connect_args": {"timeout": 60}}, {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 4}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            backend = optuna.storages.RDBStorage(
                database.text,
                engine_kwargs=of_server if database.file is None else of_file,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
            )
    except Exception as error:
        raise _cannot_open(database, error) from None
    return StudyStorage(backend=backend, database=database)


def _cannot_open(database: Database, error: Exception) -> StorageError:
    if isinstance(error, RuntimeError) and "compatible with the table schema" in str(error):
        return StorageError(
            f"cannot open {database.where}: another version of Optuna wrote it than {optuna.__version__}, which is "
            "here; use the one that wrote it, or name another --storage; nothing was changed"
        )
    for each in (error, error.__cause__):
        if database.file is None and isinstance(each, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
            return database.unreachable(each)
    return StorageError(
        f"cannot open {database.where}: {type(error).__name__}; it is not an Optuna storage that can be used"
    )


def _has_tables(engine: sqlalchemy.Engine, database: Database) -> bool:
    """Whether Optuna has made all its tables: it stamps their version last."""
    with connected(engine, database) as connection:
        try:
            return connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar() == 1
        except sqlalchemy.exc.ProgrammingError:
            return False
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise database.unreachable(error) from None
