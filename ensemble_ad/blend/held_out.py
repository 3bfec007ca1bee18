"""A blend's scores of its held-out normal images, kept: each process that scores needs them, and they take a second."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ensemble_ad.blend.columns import reference_scores, stacked
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.errors import StorageError
from ensemble_ad.files.arrays import read_arrays
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.files.whole import whole_file
from ensemble_ad.layout import held_out_file
from ensemble_ad.members.store import Member
from ensemble_ad.statistics.arrays import Floats64
from ensemble_ad.version import __version__

# Raised when the same blend gives other scores here, so that none of an earlier rule is taken for a new one.
_RULES = 2
_NAME = "held_out"


def held_out_scores(studies: Path, blend: SavedBlend, names: Sequence[str], members: Sequence[Member]) -> Floats64:
    """What `columns.reference_scores` gives, sorted: float64 (n,).

    It is kept under a hash of all that it depends on; where nothing can be written, it is computed each time.

    Args:
        studies: the studies' folder.
        blend: a blend in it.
        names: the names of its columns.
        members: its members.

    Raises:
        StorageError: if a member's error vectors are needed and damaged.
    """
    path = held_out_file(studies, _hash(blend, names, members))
    with suppress(StorageError):
        kept = read_arrays(path).get(_NAME)
        if kept is not None and kept.dtype == np.float64 and kept.ndim == 1 and np.isfinite(kept).all() and len(kept):
            return kept
    found = np.sort(reference_scores(blend.info, stacked(names, members, blend.later())))
    with suppress(StorageError), whole_file(path) as part, part.open("wb") as file:
        np.savez(file, **{_NAME: found})  # type: ignore[arg-type]
    return found


def _hash(blend: SavedBlend, names: Sequence[str], members: Sequence[Member]) -> str:
    info = blend.info
    rule = [info.checksum, info.asked_method, info.anomaly_share, list(info.weights.items()), list(names)]
    vectors = {member.key: dict(member.info.checksums) for member in members}
    return json_hash([_RULES, __version__, rule, vectors])
