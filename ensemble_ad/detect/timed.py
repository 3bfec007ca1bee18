"""The blend of a run within a time limit, for arrays, with nothing left on disk."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.images import Images
from ensemble_ad.data.sizes import SIDES
from ensemble_ad.detect.rows import Layout
from ensemble_ad.detect.run import run
from ensemble_ad.detect.scorer import BlendScorer
from ensemble_ad.errors import Interrupted
from ensemble_ad.statistics.arrays import Floats64


@dataclass(frozen=True, kw_only=True)
class TimedBlend:
    """A run's blend.

    Attributes:
        layout: how numbers become images.
        repeats: how often each pixel is repeated, across and down: images of fewer than 16 pixels are too small.
        scorer: scores images.
        reference: float64 (r,), cross-fitted scores of the held-out normal images.
    """

    layout: Layout
    repeats: int
    scorer: BlendScorer
    reference: Floats64

    @classmethod
    def fitted(
        cls,
        normal: npt.NDArray[Any],
        unlabelled: npt.NDArray[Any] | None,
        *,
        time_limit: float,
        families: Sequence[str] | None,
        seed: int,
        verbose: bool,
    ) -> Self:
        """Run families on arrays, as `rows.checked` gives them.

        Raises:
            EnsadError: as `run`.
            KeyboardInterrupt: on Ctrl-C, and nothing is kept.
        """
        layout = Layout.fitted(normal, None)
        repeats = -(-SIDES[0] // layout.side)
        images = _repeated(layout.images(normal), repeats)
        new = None if unlabelled is None else _repeated(layout.images(unlabelled), repeats)
        with tempfile.TemporaryDirectory(prefix="ensad-", ignore_cleanup_errors=True) as folder:
            try:
                scorer = run(
                    images,
                    unlabelled=new,
                    time_limit=time_limit,
                    families=families,
                    seed=seed,
                    verbose=verbose,
                    studies=Path(folder) / "studies",
                )
            except Interrupted:
                raise KeyboardInterrupt from None
            return cls(layout=layout, repeats=repeats, scorer=scorer, reference=scorer.reference)

    def score(self, array: npt.NDArray[Any]) -> Floats64:
        """float64 (n,) of an array as `rows.checked` gives it, higher = more anomalous."""
        return self.scorer.score_and_compare(_repeated(self.layout.images(array), self.repeats))[0]


def _repeated(images: Images, times: int) -> Images:
    repeated: Images = images.repeat(times, axis=1).repeat(times, axis=2) if times > 1 else images
    return np.ascontiguousarray(repeated)
