"""What a trial costs here, as the trials before it tell, and what the next one may take."""

from collections.abc import Sequence

import numpy as np

from ensemble_ad.anytime.budget import Budget
from ensemble_ad.members.store import Member
from ensemble_ad.search.allowance import Allowance

_LATEST = 5
_OF_WHAT_IS_LEFT = 0.9  # what is expected of a trial that has to end may be wrong by that
_OF_THE_BUDGET, _LEAST_SECONDS = 1 / 8, 60.0


def allowance(budget: Budget, left: float, usual: float, rate: float | None) -> Allowance | None:
    """What the next trial may take: what is left, and where much is left no large part of the whole.

    Args:
        budget: the run's.
        left: seconds that are left for training.
        usual: seconds that a trial of the family usually takes.
        rate: as `epoch_rate` gives it.

    Returns:
        None where there is no limit.
    """
    if budget.seconds is None:
        return None
    most = max(_LEAST_SECONDS, _OF_THE_BUDGET * budget.seconds)
    return Allowance(seconds=min(_OF_WHAT_IS_LEFT * left, most), left=left, usual=usual, rate=rate)


def epoch_rate(members: Sequence[Member], images: int) -> float | None:
    """Seconds that an epoch over all training images takes for each pixel of an image, judged and scored.

    Args:
        members: a family's, oldest first; the latest of them that trials have made tell.
        images: how many training images there are.

    Returns:
        The median; None where no member tells.
    """
    rates = []
    for member in members:
        info, recipe = member.info, member.info.recipe
        if info.trial is None or not info.history or recipe.size is None:
            continue
        part = min(recipe.subset or images, images) / images
        epochs = len(info.history) * recipe.size**2 * part
        rates.append((info.seconds.train + info.seconds.score) / epochs)
    return float(np.median(rates[-_LATEST:])) if rates else None
