"""A worker's turn: alone among all that use a database, by a lock that ends with its process."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy

from ensemble_ad.errors import StorageError
from ensemble_ad.files.lock import held
from ensemble_ad.search.database import Database

# The number of our lock at a server, where other programs may have locks of other numbers.
_OURS = 0x656E7361
_PATIENCE = 600


@contextmanager
def turn(database: Database, engine: sqlalchemy.Engine | None) -> Iterator[None]:
    """The turn of this process.

    Args:
        database: a file, beside which another file is locked, or a server.
        engine: connects to the server.

    Raises:
        StorageError: if another process keeps its turn for ten minutes, or the server is not reached.
    """
    if database.file is not None:
        path = database.file.with_name(f".{database.file.name}.lock")
        with held(path, _took_too_long(database.where), seconds=_PATIENCE):
            yield
        return
    assert engine is not None
    with _server_turn(engine, database):
        yield


@contextmanager
def _server_turn(engine: sqlalchemy.Engine, database: Database) -> Iterator[None]:
    connection = connected(engine, database)
    try:
        try:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_OURS})")
        except sqlalchemy.exc.OperationalError as error:
            raise database.unreachable(error) if connection.invalidated else _took_too_long(database.where) from None
        yield
        connection.rollback()
    finally:
        with suppress(sqlalchemy.exc.SQLAlchemyError):  # a connection that was lost says so once more
            connection.close()


def connected(engine: sqlalchemy.Engine, database: Database) -> sqlalchemy.Connection:
    """A connection to a server.

    Raises:
        StorageError: if there is none.
    """
    try:
        return engine.connect()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise database.unreachable(error) from None


def _took_too_long(where: str) -> StorageError:
    return StorageError(
        f"another process has kept {where} to itself for {_PATIENCE // 60} minutes; end it or wait, and run the same "
        "command again"
    )
