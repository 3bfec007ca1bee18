"""The time that a trial may take: what would take longer is trained on fewer epochs, then on fewer images."""

import math
import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ensemble_ad.training.recipe import Recipe

FEWEST_EPOCHS = 1 / 4
"""The least share of its epochs that a shortened trial trains; what is still too long is taken from its images."""
SHORTEST = 1 / 16
"""The least share of a trial's work that it is shortened to."""
_FEWEST_IMAGES = 1000
_SAFE = 0.9
_TOLERATED = 1.1
_LEAST_CUT = 0.75  # what is begun again loses epochs, which less of a cut would not bring back
_MOST_RESTARTS = 2
_SCORED = 2.0  # epochs: what scoring takes after the last one, as long as no trial of the family has told


class Rate(NamedTuple):
    """What trials of a family have taken here, in seconds for each pixel of an image.

    Attributes:
        train: an epoch over all training images, judged.
        score: the scores of all images, after the last epoch; fewer epochs or training images do not shorten that.
    """

    train: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What a trial may take, and what trials of its family usually take here.

    Attributes:
        seconds: what the trial shall take at most.
        left: what it can take before it is interrupted.
        usual: what a trial of the family takes, as far as is known before its parameters are drawn.
        rate: of trials that are trained by steps; None where none of the family has told it.
        closed: of trials in closed form, whose one epoch tells nothing of the others; None likewise.
    """

    seconds: float
    left: float
    usual: float
    rate: Rate | None = None
    closed: Rate | None = None

    def share(self, recipe: Recipe) -> float:
        """The share of the recipe's work that fits, in [`SHORTEST`, 1]."""
        epochs, rate = recipe.training.epochs, self._rate_of(recipe)
        if rate is None:
            scoring = self.usual * _SCORED / (_SCORED + epochs)
            training = self.usual - scoring
        else:
            pixels = math.prod(recipe.preprocess.size)
            scoring, training = rate.score * pixels, rate.train * epochs * pixels
        return 1.0 if training + scoring <= self.seconds else max(SHORTEST, (self.seconds - scoring) / training)

    def scoring(self, recipe: Recipe) -> float | None:
        """What the scores of all images will take; None where no trial of the family has told."""
        rate = self._rate_of(recipe)
        return None if rate is None else rate.score * math.prod(recipe.preprocess.size)

    def _rate_of(self, recipe: Recipe) -> Rate | None:
        return self.closed if recipe.training.epochs == 1 else self.rate


def shortened(recipe: Recipe, share: float, images: int) -> Recipe:
    """The recipe with that share of its work: fewer epochs, of which the learning rate's schedule spans all.

    Args:
        recipe: what the trial has drawn.
        share: in (0, 1].
        images: how many images it would be trained on.
    """
    epochs = recipe.training.epochs
    fewer = max(1, round(epochs * max(share, FEWEST_EPOCHS)))
    part = share * epochs / fewer
    subset = recipe.subset if part > _SAFE else max(min(images, _FEWEST_IMAGES), round(images * part))
    patience = None if recipe.patience is None else max(3, math.ceil(fewer / 3))
    return replace(recipe, training=replace(recipe.training, epochs=fewer), subset=subset, patience=patience)


class TooLongError(Exception):
    """A trial would not end in its time; it is to be begun again with `share` of the work that it drew."""

    def __init__(self, share: float) -> None:
        super().__init__(share)
        self.share = share


@dataclass
class Pace:
    """Watches how fast a trial trains, and ends it early where it would not end in time.

    Attributes:
        allowance: the trial's.
        share: the share of its work that it is trained on now.
        scoring: what scoring will take, in seconds; None where that is not known.
        restarts: how often it was begun again.
    """

    allowance: Allowance
    share: float
    scoring: float | None = None
    restarts: int = 0
    _trial_began: float = field(default_factory=time.monotonic)
    _began: float = field(default_factory=time.monotonic)
    _times: list[float] = field(default_factory=list)

    def again(self, share: float) -> None:
        """The trial is begun again, with that share of its work."""
        self.share = share
        self.restarts += 1
        self._began = time.monotonic()
        self._times = []

    def epoch(self, number: int, epochs: int) -> None:
        """An epoch has ended. The first one tells little, since the images are prepared within its time.

        Raises:
            TooLongError: if the others would take too long.
        """
        now = time.monotonic()
        self._times.append(now)
        if self.share <= SHORTEST or self.restarts == _MOST_RESTARTS or number >= epochs or len(self._times) > 2:
            return
        left = self.allowance.left - (now - self._trial_began)
        first = len(self._times) == 1
        each = now - (self._began if first else self._times[0])
        scoring = _SCORED * each if self.scoring is None else self.scoring
        needed = each * (epochs - number) + scoring
        if first and needed <= 4 * max(left, 0.0):
            return
        if needed > _TOLERATED * left or needed > 2 * self.allowance.seconds:
            fitting = (_SAFE * min(left, self.allowance.seconds) - scoring) / (each * epochs)
            raise TooLongError(max(SHORTEST, self.share * min(_LEAST_CUT, fitting)))
