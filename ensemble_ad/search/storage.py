"""Where Optuna's studies are kept, and the turn that workers take at them.

A storage is SQLite in the studies' folder, or what `--storage` names: PostgreSQL, or another SQLite file. Whoever
starts a trial, takes over a dead worker's or moves a study does it in its turn: alone among all workers of that
storage, by a lock on a file beside SQLite's, or by an advisory lock of PostgreSQL; both end with their process.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import optuna
import sqlalchemy
from filelock import FileLock, Timeout

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.files.whole import clear_errors, make_folder
from ensemble_ad.layout import studies_database

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 180
# Locks of other programs on the same server are told from ours by it.
_OURS = 0x656E7361
_PATIENCE = 600


@dataclass(frozen=True, kw_only=True)
class StudyStorage:
    """An open storage.

    Attributes:
        backend: Optuna's.
        lock: of SQLite, the file that is locked; None of PostgreSQL.
        where: its name for people, without a password.
    """

    backend: optuna.storages.RDBStorage
    lock: Path | None
    where: str

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The turn of this process, alone among all that use the storage.

        Raises:
            StorageError: if another keeps its turn for ten minutes.
        """
        if self.lock is not None:
            with _file_turn(self.lock, self.where):
                yield
            return
        with _server_turn(self.backend.engine, self.where):
            yield

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
            try:
                self._backend.record_heartbeat(self._trial_id)
            except (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError):
                continue
        self._backend.remove_session()


def open_storage(studies: Path, url: str | None) -> StudyStorage:
    """The studies' storage.

    Raises:
        StorageError: if it cannot be opened, or is neither SQLite nor PostgreSQL; the URL, which may hold a password,
            is not repeated.
        UsageError: if PostgreSQL's driver is not installed.
    """
    make_folder(studies)
    path = studies_database(studies)
    if url is None and path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise StorageError(f"cannot write to {path}: permission denied; make it writable or name another folder")
    where = str(path) if url is None else "the storage named by --storage"
    parsed = _parse(path, where, url)
    if parsed.get_backend_name() == "sqlite":
        file = Path(str(parsed.database))
        lock = file.with_name(f".{file.name}.lock")
        with _file_turn(lock, where):
            if not file.exists():
                with clear_errors(file, "write"):
                    file.touch()  # as the umask says; SQLite's own file could not be written by others of a group
            return StudyStorage(backend=_open(parsed, where), lock=lock, where=where)
    try:
        engine = sqlalchemy.create_engine(parsed, poolclass=sqlalchemy.NullPool)
        if _has_tables(engine, where):  # then nothing has to be created, and many may open it at once
            return StudyStorage(backend=_open(parsed, where), lock=None, where=where)
        with _server_turn(engine, where):
            return StudyStorage(backend=_open(parsed, where), lock=None, where=where)
    except ImportError:
        raise _no_driver() from None


def _parse(path: Path, where: str, url: str | None) -> sqlalchemy.URL:
    try:
        parsed = sqlalchemy.make_url(url or f"sqlite:///{path}")
        kind = parsed.get_backend_name()
    except Exception as error:
        raise _cannot_open(where, error) from None
    if kind not in ("sqlite", "postgresql") or (kind == "sqlite" and parsed.database in (None, "", ":memory:")):
        raise StorageError(f"cannot open {where}: it must be sqlite:///FILE or postgresql://...")
    return parsed


def _no_driver() -> UsageError:
    return UsageError("--storage postgresql://... needs psycopg: pip install 'ensemble-ad[postgres]'")


@contextmanager
def reading(studies: Path, url: str | None) -> Iterator[optuna.storages.RDBStorage | None]:
    """A storage to look into, be its folder read-only; None where there is none yet, and then none is made.

    Raises:
        StorageError, UsageError: as for `open_storage`.
    """
    where = str(studies_database(studies)) if url is None else "the storage named by --storage"
    parsed = _parse(studies_database(studies), where, url)
    if parsed.get_backend_name() == "sqlite":
        file = Path(str(parsed.database))
        if not file.exists():
            yield None
            return
        parsed = parsed.set(database=f"file:{quote(str(file.absolute()))}", query={"mode": "ro", "uri": "true"})
    else:
        try:
            engine = sqlalchemy.create_engine(parsed, poolclass=sqlalchemy.NullPool)
        except ImportError:
            raise _no_driver() from None
        if not _has_tables(engine, where):
            yield None
            return
    try:
        backend = optuna.storages.RDBStorage(parsed.render_as_string(hide_password=False), skip_table_creation=True)
    except Exception as error:
        raise _cannot_open(where, error) from None
    try:
        yield backend
    except (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise _cannot_open(where, error) from None
    finally:
        backend.engine.dispose()


def _open(url: sqlalchemy.URL, where: str) -> optuna.storages.RDBStorage:
    sqlite = url.get_backend_name() == "sqlite"
    # SQLite waits that many seconds for another process's write to end. A server may have closed an idle connection,
    # and has a hundred of them for all workers.
    engine = {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 4}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.storages.RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs=engine,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
            )
    except Exception as error:
        raise _cannot_open(where, error) from None


def _cannot_open(where: str, error: Exception) -> StorageError:
    if isinstance(error, RuntimeError) and "compatible with the table schema" in str(error):
        return StorageError(
            f"cannot open {where}: another version of Optuna wrote it than {optuna.__version__}, which is here; use "
            "the one that wrote it, or name another --storage; nothing was changed"
        )
    return StorageError(f"cannot open {where}: {type(error).__name__}; it is not an Optuna storage that can be used")


def _took_too_long(where: str) -> StorageError:
    return StorageError(
        f"another process has kept {where} to itself for {_PATIENCE // 60} minutes; end it or wait, and run the same "
        "command again"
    )


@contextmanager
def _file_turn(path: Path, where: str) -> Iterator[None]:
    make_folder(path.parent)
    lock = FileLock(path)
    try:
        with clear_errors(path, "lock", but=Timeout):
            lock.acquire(timeout=_PATIENCE)
    except Timeout:
        raise _took_too_long(where) from None
    try:
        yield
    finally:
        lock.release()


def _connected(engine: sqlalchemy.Engine, where: str) -> sqlalchemy.Connection:
    try:
        return engine.connect()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StorageError(
            f"cannot reach {where}: {type(error).__name__}; see that the server runs and takes user and password"
        ) from None


def _has_tables(engine: sqlalchemy.Engine, where: str) -> bool:
    """Whether Optuna has created all its tables: it stamps their version last."""
    with _connected(engine, where) as connection:
        try:
            return connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar() == 1
        except sqlalchemy.exc.ProgrammingError:
            return False


@contextmanager
def _server_turn(engine: sqlalchemy.Engine, where: str) -> Iterator[None]:
    with _connected(engine, where) as connection:
        try:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_OURS})")
        except sqlalchemy.exc.OperationalError:
            raise _took_too_long(where) from None
        yield
        connection.rollback()
