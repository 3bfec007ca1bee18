"""What libraries warn of while they read a file, by thread: `warnings.catch_warnings` is for one thread at a time."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.Lock()


class _Listening(threading.local):
    """The texts of this thread's warnings; None while nobody listens in it."""

    texts: list[str] | None = None


class _Hook:
    """What stands in the place of `warnings.showwarning` while any thread listens."""

    def __init__(self) -> None:
        self._listeners = 0
        self._filters = warnings.catch_warnings()
        self._show: Any = None

    def put(self) -> None:
        with _LOCK:
            self._listeners += 1
            if self._listeners == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                self._show = warnings.showwarning
                hear: Any = self._hear
                warnings.showwarning = hear
                warnings.simplefilter("always")

    def take_away(self) -> None:
        with _LOCK:
            self._listeners -= 1
            if self._listeners == 0:
                self._filters.__exit__(None, None, None)

    def _hear(self, message: Warning | str, *more: Any) -> None:
        if _listening.texts is None:
            self._show(message, *more)
        else:
            _listening.texts.append(str(message))


_listening, _hook = _Listening(), _Hook()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """A list of the texts of the warnings that this thread gives until it is left; they are not shown."""
    before, texts = _listening.texts, list[str]()
    _hook.put()
    _listening.texts = texts
    try:
        yield texts
    finally:
        _listening.texts = before
        _hook.take_away()
