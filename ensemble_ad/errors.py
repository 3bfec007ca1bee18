"""What can go wrong, in kinds that a script can tell apart by the exit code.

    EnsadError                        1
        UsageError                    2    a name, flag or value
        DataError                     3    images, labels, scores
        StorageError                  4    what lies on disk
            members.store.DamagedError     a member's files, which can be set aside
        DivergedError                 1    a training whose loss is not finite
        Interrupted                 130    Ctrl-C

A message is one line: the rule, the value that broke it, and what to do about it.
"""

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

FIRST_STUDY = "ensad tune --family fcn --trials 50"
"""The command that an error advises where nothing was trained yet: a study that every data set takes."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_IN_COMMAND: ContextVar[bool] = ContextVar("_IN_COMMAND", default=False)
_FLAG = re.compile(r"(?<!\w)--([a-z]+(?:-[a-z]+)*)(?: (?=[\d.]))?")
_ARGUMENTS = {"blend": "name"}  # of flags that are not called as Python's arguments are
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class EnsadError(Exception):
    """Base of every error that is the user's to mend; the command line prints it and exits with `exit_code`."""

    exit_code = 1

    def __init__(self, message: str, *more: object) -> None:
        super().__init__(printable(message), *more)  # it may quote a stranger's file


class UsageError(EnsadError):
    """A name, flag or value that does not exist or does not fit; the same code that click uses for its own."""

    exit_code = 2


class DataError(EnsadError):
    """Images, labels, scores or a sample submission that cannot be used as they are."""

    exit_code = 3


class StorageError(EnsadError):
    """A study, member, blend or submission that cannot be written or read back."""

    exit_code = 4


class DivergedError(EnsadError):
    """The loss or the scores of a model are not finite numbers."""


class Interrupted(EnsadError):
    """The user pressed Ctrl-C; the message says what was kept."""

    exit_code = 130


def printable(text: str) -> str:
    """`text` as one line that every terminal and file takes: control characters and lone surrogates are escaped."""
    whole = " ".join(text.split("\n")).encode("utf-8", "backslashreplace").decode()
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], whole)


def in_one_line(error: BaseException, most: int = 300, *, with_kind: bool = False) -> str:
    """The text of an error that other code raised, as a part of a message of ours: one line.

    Args:
        error: the error.
        most: how many characters of its text are kept.
        with_kind: put the name of its class before the text; an error without a text is always named by its class.
    """
    text = " ".join(str(error).split())[:most]
    kind = type(error).__name__
    return f"{kind}: {text}" if with_kind else text or kind


@contextmanager
def in_a_command() -> Iterator[None]:
    """While entered, errors name options as the command line has them: `--alarm-rate`."""
    token = _IN_COMMAND.set(True)
    try:
        yield
    finally:
        _IN_COMMAND.reset(token)


def speaks_python(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Around a public function: outside of a command, its errors name arguments, `alarm_rate`, instead of flags."""

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except EnsadError as error:
            if not _IN_COMMAND.get():
                error.args = (in_python(str(error)), *error.args[1:])
            raise

    return wrapped


def in_python(message: str) -> str:
    """A message with arguments for flags; whole commands, in backticks, stay."""

    def argument(found: re.Match[str]) -> str:
        name = found[1].replace("-", "_")
        return _ARGUMENTS.get(name, name) + "=" * found[0].endswith(" ")

    parts = message.split("`")
    parts[::2] = [_FLAG.sub(argument, part) for part in parts[::2]]
    return "`".join(parts)
