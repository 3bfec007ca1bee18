"""The objective `auto`: `separation`, until the finished trials show that it cannot be trusted; then `both`.

A guard is a pure function of the finished trials that gives a reason in words, or nothing. The first reason moves the
study to `both`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from ensemble_ad.data.split import REFERENCE_LEAST
from ensemble_ad.errors import UsageError
from ensemble_ad.members.defect_aucs import synthetic_values
from ensemble_ad.members.measured import Objectives
from ensemble_ad.statistics import MOST_ANOMALIES, rank_correlation

FEW_ANOMALIES = 0.1  # with so few, `both` was better than `separation` on 40 tasks of handwritten digits
TRIALS_TO_JUDGE = 5
TRIALS_TO_COMPARE = 8
_ONE_SIDED_5_PERCENT = 1.645
# A trial passes over a kind of error by chance in 1% of cases at most, but trials of one test set err together.
_CHANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What is known before the first trial.

    Attributes:
        reference_rows: how many normal images are held out.
        test_rows: how many test images there are.
        anomaly_share: the share of anomalies in the test set, where the user gave it.
    """

    reference_rows: int
    test_rows: int
    anomaly_share: float | None

    def __post_init__(self) -> None:
        if self.anomaly_share is not None and not 0 < self.anomaly_share < 1:
            raise UsageError(f"--anomaly-share must lie between 0 and 1, not {self.anomaly_share}")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What one finished trial says, by the kind of error that its objective chose.

    Attributes:
        separation: the separation A.
        standard_error: A's standard error.
        share: the share of anomalies in the test set that its scores speak of (`statistics.estimate_share`).
        least_share: the lower bound of that share.
        implausible: the kinds of error that `separation` passed over.
        kinds: the AUC of each kind of pseudo-anomaly.
    """

    separation: float
    standard_error: float
    share: float
    least_share: float
    implausible: Sequence[str]
    kinds: Mapping[str, float]

    @classmethod
    def of(cls, known: Objectives) -> "Finished":
        """What the objectives say of a member that a study by `auto` made; such a member has all of them."""
        assert known.separation
        assert known.share
        assert known.synthetic
        assert known.implausible is not None
        return cls(
            separation=known.separation.value,
            standard_error=known.separation.standard_error,
            share=known.share.value,
            least_share=known.share.low,
            implausible=known.implausible,
            kinds=known.synthetic.kinds,
        )


def first_objective(known: Circumstances) -> tuple[str, str]:
    """The objective that `auto` begins with, and the reason where that is not `separation`."""
    if known.test_rows == 0:
        return "synthetic", "there are no test images"
    if known.reference_rows < REFERENCE_LEAST:
        return "both", f"only {known.reference_rows} normal images could be held out, and {REFERENCE_LEAST} are needed"
    if known.anomaly_share is not None and known.anomaly_share <= FEW_ANOMALIES:
        return "both", f"with {known.anomaly_share:.1%} anomalies separation is mostly noise"
    return "separation", ""


def guard(finished: Sequence[Finished], known: Circumstances) -> str:
    """The reason to move a study from `separation` to `both`; empty where there is none."""
    if len(finished) < TRIALS_TO_JUDGE:
        return ""
    best = max(finished, key=lambda trial: trial.separation)
    return _differs(finished) or _too_much(best, known) or _too_little(best) or _disagreement(finished)


def _differs(finished: Sequence[Finished]) -> str:
    seeing = [trial for trial in finished if trial.implausible]
    if len(seeing) <= max(1, _CHANCE * len(finished)):
        return ""
    kinds = sorted({kind for trial in seeing for kind in trial.implausible})
    return (
        f"{len(seeing)} of {len(finished)} trials have kinds of error ({', '.join(kinds)}) whose scores speak of more "
        f"than {MOST_ANOMALIES:.0%} anomalies: the test set's normal images seem to differ from the training images; "
        "--objective synthetic looks at no test image"
    )


def _too_much(best: Finished, known: Circumstances) -> str:
    most = known.anomaly_share or MOST_ANOMALIES
    by_separation = 2 * (best.separation - _ONE_SIDED_5_PERCENT * best.standard_error) - 1
    least = max(by_separation, best.least_share)
    if least <= most:
        return ""
    what = "the share that was given" if known.anomaly_share else "what is likely"
    return (
        f"the best trial's scores speak of {least:.0%} anomalies or more, beyond {what} ({most:.0%}): "
        "the test set's normal images seem to differ from the training images"
    )


def _too_little(best: Finished) -> str:
    if best.share > FEW_ANOMALIES:
        return ""
    return (
        f"the best trial's scores speak of {best.share:.0%} anomalies: they are few, or these models do not see them, "
        "and separation is mostly noise"
    )


def _disagreement(finished: Sequence[Finished]) -> str:
    n = len(finished)
    if n < TRIALS_TO_COMPARE:
        return ""
    synthetic = synthetic_values([trial.kinds for trial in finished])
    rho = rank_correlation([trial.separation for trial in finished], synthetic)
    if not rho < -_ONE_SIDED_5_PERCENT / sqrt(n - 1):
        return ""
    return (
        f"separation and synthetic disagree over {n} trials (rank correlation {rho:.2f}): what separates the test "
        "images is not what sees damage"
    )
