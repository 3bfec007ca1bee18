"""The state of a training on disk, so that a training that was killed goes on from its last epoch.

A checkpoint is one file: tensors, and JSON in its header. It exists only while the member of its key is being made.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble_ad.files.whole import clear_errors, remove_parts, whole_file
from ensemble_ad.layout import checkpoint_file

if TYPE_CHECKING:  # who only looks on at a study need not wait for torch
    from torch import Tensor

SECONDS_BETWEEN = 10.0
"""The least time between two checkpoints, so that a model whose epochs are quick is not slowed."""
# Writing takes at most this share of the time, however large the model is.
_SHARE = 0.05
# Until one was written: a model of 120 million parameters, its moments and its best weights took 10 seconds.
_BYTES_A_SECOND = 200e6
_FORMAT = "2"


class State(NamedTuple):
    """What a checkpoint holds: tensors by name, and JSON values by name."""

    tensors: "Mapping[str, Tensor]"
    values: Mapping[str, Any]


class Checkpoint:
    """The checkpoint of one member.

    Args:
        studies: the studies' folder.
        key: the member's key.
    """

    def __init__(self, studies: Path, key: str) -> None:
        self._path, self._key = checkpoint_file(studies, key), key
        self._last = time.monotonic()
        self._wait = SECONDS_BETWEEN
        self._is_first = True

    def read(self) -> State | None:
        """The state that was kept; None where there is none of this member's that can be read.

        Raises:
            StorageError: if the system refuses to read it.
        """
        from safetensors import SafetensorError, safe_open

        if not self._path.exists():
            return None
        try:
            with clear_errors(self._path, "read"), safe_open(self._path, "pt") as file:
                header = file.metadata() or {}
                if (header.get("format"), header.get("key")) != (_FORMAT, self._key):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                if _checksum(tensors, header["values"]) != header["checksum"]:
                    return None
                return State(tensors, json.loads(header["values"]))
        except (SafetensorError, KeyError, ValueError):
            return None

    def write_if_due(self, state: Callable[[], State]) -> None:
        """Keep a state, unless one was kept too recently, or the training is too young for one of its size.

        Raises:
            StorageError: if it cannot be written.
        """
        started = time.monotonic()
        if started - self._last < self._wait:
            return
        kept = state()
        if self._is_first:
            self._is_first = False
            seconds = sum(value.nbytes for value in kept.tensors.values()) / _BYTES_A_SECOND
            self._wait = max(SECONDS_BETWEEN, seconds / _SHARE)
            if started - self._last < self._wait:
                return
        self.write(kept)
        self._last = time.monotonic()
        self._wait = max(SECONDS_BETWEEN, (self._last - started) / _SHARE)

    def write(self, state: State) -> None:
        """Keep a state in place of the one before.

        Raises:
            StorageError: if it cannot be written.
        """
        import torch
        from safetensors.torch import save

        tensors = {
            name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in state.tensors.items()
        }
        values = json.dumps(state.values)
        checksum = _checksum(tensors, values)
        packed = save(tensors, metadata={"format": _FORMAT, "key": self._key, "values": values, "checksum": checksum})
        with whole_file(self._path) as part:
            part.write_bytes(packed)

    def remove(self) -> None:
        """Remove the checkpoint, with what a killed process had half written of it."""
        remove(self._path)


def _checksum(tensors: "Mapping[str, Tensor]", values: str) -> str:
    """BLAKE2b-128 of names, bytes and values, so that no training goes on from a flipped bit."""
    import torch

    digest = hashlib.blake2b(values.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}".encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def remove(path: Path) -> None:
    """Remove a checkpoint, with what a killed process had half written of it.

    Raises:
        StorageError: if the system refuses to.
    """
    with clear_errors(path, "remove"):
        path.unlink(missing_ok=True)
    remove_parts(path)
