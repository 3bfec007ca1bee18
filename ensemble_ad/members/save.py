"""Writing a member's files, which `store` reads: whole or not at all, its weights while its images are scored."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble_ad.files.json_file import write_json
from ensemble_ad.files.whole import file_hash, hidden_folder, remove_parts, set_aside, whole_file, whole_folder
from ensemble_ad.layout import MEMBER_INFO, VECTORS, WEIGHTS, member_folder
from ensemble_ad.members.info import MemberInfo
from ensemble_ad.members.store import Member, has_member, load_member

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy.typing as npt

    from ensemble_ad.data.split import Rows
    from ensemble_ad.statistics.arrays import Floats32


def save_member(
    studies: Path,
    info: MemberInfo,
    *,
    reference: "Mapping[str, Floats32]",
    test: "Mapping[str, Floats32]",
    weights: "Mapping[str, npt.NDArray[Any]] | Future[WeightsFile]",
    pseudo: "Mapping[str, Mapping[str, Floats32]]" = MappingProxyType({}),
    damaged: "Rows | None" = None,
) -> Member:
    """Write a member, whole or not at all.

    Args:
        studies: the studies' folder.
        info: what is known of the member; columns, kinds of pseudo-anomaly and checksums are added.
        reference: float32 (n,) by kind of error, the scores of held-out images.
        test: float32 (k,) by the same kinds, the scores of test images.
        weights: the model's arrays by name, or what `weights_beside` writes of them.
        pseudo: float32 (d,) by kind of pseudo-anomaly, then by the same kinds of error; empty where there are none.
        damaged: int64 (d,), the rows of the reference that pseudo-anomalies were made of, sorted; None where there are
            none.

    Raises:
        StorageError: if it cannot be written.
    """
    import numpy as np

    columns = tuple(reference)
    place = member_folder(studies, info.key)
    if place.exists() and not has_member(studies, info.key):
        set_aside(place)
    beside = weights_beside(studies, info.key, weights) if isinstance(weights, Mapping) else nullcontext(weights)
    with beside as written, whole_folder(place) as folder:
        arrays: dict[str, npt.NDArray[Any]] = {
            "reference": _side_by_side(reference, columns),
            "test": _side_by_side(test, columns),
        }
        if damaged is not None:
            of_kinds = [_side_by_side(scores, columns) for scores in pseudo.values()]
            arrays |= {"pseudo": np.stack(of_kinds), "damaged": damaged}
        np.savez(folder / VECTORS, **arrays)  # type: ignore[arg-type]
        packed = written.result()
        packed.path.rename(folder / WEIGHTS)
        checksums = {VECTORS: file_hash(folder / VECTORS), WEIGHTS: packed.checksum}
        whole = replace(info, columns=columns, pseudo_kinds=tuple(pseudo), checksums=checksums)
        write_json(folder / MEMBER_INFO, whole.to_json())
    return load_member(studies, info.key)


class WeightsFile(NamedTuple):
    """A model's weights on disk, before they are in a member's folder."""

    path: Path
    checksum: str


@contextmanager
def weights_beside(
    studies: Path, key: str, weights: "Mapping[str, npt.NDArray[Any]]"
) -> "Iterator[Future[WeightsFile]]":
    """Write a model's weights on a thread, so that the caller can score meanwhile; `save_member` takes them.

    Args:
        studies: the studies' folder.
        key: the member's.
        weights: the model's arrays by name, which stay as they are until they are written.

    Raises:
        StorageError: if there can be no such file; what goes wrong as it is written, the future raises.
    """
    from concurrent.futures import ThreadPoolExecutor

    place = member_folder(studies, key)
    # Named as `remove_half_written` looks for it.
    with hidden_folder(place.parent, f"{place.name}.") as folder, ThreadPoolExecutor(1) as pool:
        yield pool.submit(_packed, folder / WEIGHTS, weights)


def _packed(path: Path, weights: "Mapping[str, npt.NDArray[Any]]") -> WeightsFile:
    import numpy as np
    from safetensors.numpy import save

    # safetensors' own writer would report a full disk by an error that is no OSError.
    packed = save({name: np.ascontiguousarray(value) for name, value in weights.items()})
    with whole_file(path) as part:
        part.write_bytes(packed)
    return WeightsFile(path, file_hash(path))


def _side_by_side(scores: "Mapping[str, Floats32]", columns: Sequence[str]) -> "Floats32":
    import numpy as np

    return np.stack([scores[column] for column in columns], axis=1)


def remove_half_written(studies: Path, key: str) -> None:
    """Remove what killed processes had half written of a member; no process may be writing it now.

    Raises:
        StorageError: if it cannot be removed.
    """
    remove_parts(member_folder(studies, key))
