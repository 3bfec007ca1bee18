"""Where the studies are kept: an SQLite file, by default in the studies' folder, or a PostgreSQL server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import sqlalchemy

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.extras import how_to_install
from ensemble_ad.files.output import resolved
from ensemble_ad.files.whole import clear_errors, remove_parts, whole_file
from ensemble_ad.layout import studies_database

_ENCODING = "of its user and password / # @ : ? % are written %2F %23 %40 %3A %3F %25 (percent-encoding)"
_FORMS = f"it must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE; {_ENCODING}"


@dataclass(frozen=True, kw_only=True)
class Database:
    """Where the studies are kept.

    Attributes:
        url: SQLAlchemy's, which may hold a password: no message repeats it.
        file: SQLite's file; None of a server.
        where: its name in messages.
    """

    url: sqlalchemy.URL = field(repr=False)
    file: Path | None
    where: str

    @classmethod
    def named(cls, studies: Path, url: str | None) -> Self:
        """The database that `--storage` names; None is the one in the studies' folder.

        Raises:
            StorageError: if that is neither SQLite nor PostgreSQL, or no file.
        """
        if url is None:
            path = studies_database(studies)
            return cls(url=_of_file(path, {}), file=_checked(path, str(path)), where=str(path))
        where = "the storage named by --storage"
        try:
            parsed = sqlalchemy.make_url(url)
            kind = parsed.get_backend_name()
        except Exception as error:
            raise StorageError(f"cannot open {where}: {type(error).__name__}; {_FORMS}") from None
        if kind == "postgresql":
            return cls(url=parsed, file=None, where=where)
        file = _file_of(parsed) if kind == "sqlite" else None
        if file is None:
            raise StorageError(f"cannot open {where}: {_FORMS}")
        query = {name: value for name, value in parsed.query.items() if name not in ("uri", "mode")}
        return cls(url=_of_file(file, query), file=_checked(file, where), where=where)

    @property
    def read_only(self) -> str:
        """The URL to read from it; of a file, so that nothing is made or changed."""
        return self._rendered(self.url if self.file is None else self.url.update_query_dict({"mode": "ro"}))

    @property
    def text(self) -> str:
        """The URL, with its password."""
        return self._rendered(self.url)

    def _rendered(self, url: sqlalchemy.URL) -> str:
        # Optuna fills in what stands in braces, and names of files or databases may have some.
        return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")

    @property
    def is_there(self) -> bool:
        """Whether the file is there; of a server always."""
        return self.file is None or self.file.exists()

    def check_writable(self) -> None:
        """Refuse a file that can only be read.

        Raises:
            StorageError: if that is so.
        """
        if self.file is not None and self.file.exists() and not os.access(self.file, os.R_OK | os.W_OK):
            raise StorageError(
                f"cannot write to {self.where}: permission denied; make it writable or name another folder"
            )

    @contextmanager
    def begun(self) -> Iterator[Self | None]:
        """Give a database to make all tables in, which on leaving becomes this file; None where one is there.

        SQLite keeps each table and each index as it is made, so that a process that is killed meanwhile would leave
        some. It is this process's turn.

        Raises:
            StorageError: if it cannot be made.
        """
        if self.file is None or (self.file.exists() and self.file.stat().st_size):
            yield None
            return
        with clear_errors(self.file, "write"):
            remove_parts(resolved(self.file))
        with whole_file(self.file, named_by_user=True) as part:
            yield replace(self, url=_of_file(part, {}), file=part)

    def engine(self) -> sqlalchemy.Engine:
        """An engine of one's own, which keeps no connection.

        Raises:
            UsageError: if PostgreSQL's driver is not installed.
        """
        try:
            return sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)
        except ImportError:
            raise UsageError(f"--storage postgresql://... needs psycopg: {how_to_install('postgres')}") from None

    def unreachable(self, error: BaseException) -> StorageError:
        """What to say where a server does not let us in, or has ended the connection."""
        kind = type(getattr(error, "orig", None) or error).__name__
        return StorageError(
            f"cannot reach {self.where}: {kind}; see that the server runs and takes user and password, and that "
            f"{_ENCODING}"
        )


def _of_file(file: Path, query: dict[str, str | tuple[str, ...]]) -> sqlalchemy.URL:
    """The URL of an SQLite file: percent-encoded, so that no character of its name means anything else."""
    return sqlalchemy.URL.create("sqlite", database=file.absolute().as_uri(), query={**query, "uri": "true"})


def _file_of(url: sqlalchemy.URL) -> Path | None:
    """The file of an SQLite URL; None where it is in memory."""
    name = url.database or ""
    if name in ("", ":memory:") or url.query.get("mode") == "memory":
        return None
    if name.startswith("file:") and url.query.get("uri") == "true":
        name = unquote(urlsplit(name).path)
    return Path(name) if name not in ("", ":memory:") else None


def _checked(file: Path, where: str) -> Path:
    if file.exists() and not file.is_file():
        raise StorageError(f"cannot open {where}: it must be a file, and is none; name another --studies or --storage")
    return file
