"""What the objective `auto` stands on: how much a test batch is believed, and the doubts that finished trials raise."""

from collections.abc import Sequence
from math import sqrt

from ensemble_ad.members.measured import Objectives
from ensemble_ad.members.objectives import Evidence, implausible_kinds, separations, synthetics
from ensemble_ad.statistics import MOST_ANOMALIES, rank_correlation
from ensemble_ad.statistics.belief import Belief

TRIALS_TO_JUDGE = 5
TRIALS_TO_COMPARE = 8
_ONE_SIDED_5_PERCENT = 1.645
# A kind of error is passed over by chance in 1% of cases at most, but those of one test set err together.
_CHANCE = 0.1


def belief_of(detectors: Sequence[Evidence], share: float | None = None) -> Belief:
    """How much a test batch says of models beside pseudo-anomalies, by detectors that are known beforehand.

    Nothing is believed where more than a tenth of their kinds of error speak of more anomalies than are likely: these
    see how the test set's normal images differ from the training images.

    Args:
        detectors: their evidence, on the same images; all have pseudo-anomalies, and test images.
        share: the share of anomalies among the test images, where the user knows it.

    Raises:
        UsageError: for a share that does not lie between 0 and 1.
    """
    kinds = [(each, kind) for each in detectors for kind in each.reference]
    differing = [(i, kind) for i, each in enumerate(detectors) for kind in implausible_kinds(each)]
    if len(differing) > _CHANCE * len(kinds):
        return Belief()
    reference_rows, test_rows = (len(next(iter(rows.values()))) for rows in (detectors[0].reference, detectors[0].test))
    if share is not None:
        return Belief.of_share(share, reference_rows, test_rows)
    shown = [separations(each) for each in detectors]
    promised = [synthetics(each) for each in detectors]
    plausible = [(i, kind) for i, found in enumerate(shown) for kind in found]
    return Belief.of_detectors(
        [promised[i][kind].value for i, kind in plausible],
        [shown[i][kind].value for i, kind in plausible],
        reference_rows,
        test_rows,
    )


def doubts(finished: Sequence[Objectives], share: float | None = None) -> tuple[str, ...]:
    """Why what a study by `auto` found should be trusted less, a line each.

    Args:
        finished: what the objectives say of the finished trials; those that lack something are passed over.
        share: the share of anomalies among the test images, where the user knows it.
    """
    known = [each for each in finished if each.separation and each.synthetic and each.share]
    if len(known) < TRIALS_TO_JUDGE:
        return ()
    return tuple(filter(None, (_differs(known), _too_much(known, share), _disagreement(known))))


def _differs(finished: Sequence[Objectives]) -> str:
    seeing = [trial for trial in finished if trial.implausible]
    if len(seeing) <= max(1, _CHANCE * len(finished)):
        return ""
    kinds = sorted({kind for trial in seeing for kind in trial.implausible or ()})
    return (
        f"{len(seeing)} of {len(finished)} trials have kinds of error ({', '.join(kinds)}) whose scores speak of more "
        f"than {MOST_ANOMALIES:.0%} anomalies: the test set's normal images seem to differ from the training images; "
        "--objective synthetic looks at no test image"
    )


def _too_much(finished: Sequence[Objectives], share: float | None) -> str:
    most = share or MOST_ANOMALIES
    found = []
    for trial in finished:
        assert trial.separation
        assert trial.share
        sure = trial.separation.value - _ONE_SIDED_5_PERCENT * trial.separation.standard_error
        found.append(max(2 * sure - 1, trial.share.low))
    if max(found) <= most:
        return ""
    what = "the share that was given" if share else "what is likely"
    return (
        f"a trial's scores speak of {max(found):.0%} anomalies or more, beyond {what} ({most:.0%}): the test set's "
        "normal images seem to differ from the training images"
    )


def _disagreement(finished: Sequence[Objectives]) -> str:
    n = len(finished)
    if n < TRIALS_TO_COMPARE:
        return ""
    separation = [trial.separation.value for trial in finished if trial.separation]
    synthetic = [trial.synthetic.value for trial in finished if trial.synthetic]
    rho = rank_correlation(separation, synthetic)
    if not rho < -_ONE_SIDED_5_PERCENT / sqrt(n - 1):
        return ""
    return (
        f"separation and synthetic disagree over {n} trials (rank correlation {rho:.2f}): what separates the test "
        "images is not what sees damage"
    )
