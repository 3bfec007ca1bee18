"""A member's error vectors of pseudo-anomalies, beside those of the images that they were made of."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ensemble_ad.data.split import Rows
    from ensemble_ad.statistics.arrays import Floats32


class PseudoVectors(NamedTuple):
    """A member's error vectors of pseudo-anomalies.

    Attributes:
        kinds: names of the K kinds.
        scores: float32 (K, d, m): pseudo-anomaly i of every kind is made of the same image.
        damaged: int64 (d,), the rows of the reference that they were made of.
    """

    kinds: tuple[str, ...]
    scores: "Floats32"
    damaged: "Rows"

    def are_of(self, reference: "Floats32") -> bool:
        """Whether they can have been made of some of the images that `reference` (n, m) has scores of."""
        import numpy as np

        rows, (n, m) = self.damaged, reference.shape
        return (
            rows.ndim == 1
            and rows.dtype == np.int64
            and 0 < len(rows) <= n
            and bool((rows >= 0).all() and (rows < n).all() and (np.diff(rows) > 0).all())
            and self.scores.shape == (len(self.kinds), len(rows), m)
        )
