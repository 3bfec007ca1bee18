"""What a trial costs here, as the trials before it tell, and what the next one may take."""

from collections.abc import Sequence

import numpy as np

from ensemble_ad.anytime.budget import Budget
from ensemble_ad.members.store import Member
from ensemble_ad.search.allowance import Allowance, Rate

_LATEST = 5
_OF_WHAT_IS_LEFT = 0.9  # what is expected of a trial that has to end may be wrong by that
_OF_THE_BUDGET, _LEAST_SECONDS = 1 / 8, 60.0


def allowance(budget: Budget, left: float, usual: float, own: tuple[Rate | None, Rate | None]) -> Allowance | None:
    """What the next trial may take: what is left, and where much is left no large part of the whole.

    Args:
        budget: the run's.
        left: seconds that are left for training.
        usual: seconds that a trial of the family usually takes.
        own: as `rates` gives them.

    Returns:
        None where there is no limit.
    """
    if budget.seconds is None:
        return None
    most = max(_LEAST_SECONDS, _OF_THE_BUDGET * budget.seconds)
    rate, closed = own
    return Allowance(seconds=min(_OF_WHAT_IS_LEFT * left, most), left=left, usual=usual, rate=rate, closed=closed)


def rates(members: Sequence[Member], images: int) -> tuple[Rate | None, Rate | None]:
    """What trials have taken here: those that were trained by steps, and those in closed form.

    Args:
        members: a family's, oldest first; the latest of them that trials have made tell.
        images: how many training images there are.

    Returns:
        The medians; None where no member tells.
    """
    steps: list[Rate] = []
    closed: list[Rate] = []
    for member in members:
        info, recipe = member.info, member.info.recipe
        if info.trial is None or not info.history or recipe.size is None:
            continue
        pixels, part = recipe.size**2, min(recipe.subset or images, images) / images
        rate = Rate(info.seconds.train / (len(info.history) * pixels * part), info.seconds.score / pixels)
        (closed if recipe.epochs == 1 else steps).append(rate)
    by_steps, in_closed_form = (
        Rate(*np.median(some[-_LATEST:], axis=0).tolist()) if some else None for some in (steps, closed)
    )
    return by_steps, in_closed_form
