"""How good a model is, without labels: named objectives, each a pure function of a model's error vectors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ensemble_ad import statistics
from ensemble_ad.errors import UsageError
from ensemble_ad.members.defect_aucs import synthetic_aucs
from ensemble_ad.statistics.arrays import Floats32, Floats64, Labels


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A model's error vectors after an epoch, and what else an objective may judge them by.

    Attributes:
        reference: float32 (n,) by kind of error, the scores of held-out normal images.
        test: float32 (k,) by kind of error, the scores of the test images.
        pixels: how many numbers an image has, to make a mean of a sum.
        pseudo: float32 (j,) by kind of pseudo-anomaly, then by kind of error.
        normal_rows: int64 (r,), the rows of the reference that no pseudo-anomaly was made of.
        consensus: float64 (k,), mean rank of the test images over the finished trials; None before the first.
        label: (k,) of 0 and 1, where the user named labels.
    """

    reference: Mapping[str, Floats32]
    test: Mapping[str, Floats32]
    pixels: int
    pseudo: Mapping[str, Mapping[str, Floats32]] = field(default_factory=dict)
    normal_rows: npt.NDArray[np.int64] | None = None
    consensus: Floats64 | None = None
    label: Labels | None = None


class Judgement(NamedTuple):
    """An objective's judgement of a model.

    Attributes:
        value: the model's worth, in the objective's direction.
        standard_error: the value's, from the finite sample of images; NaN where it has none.
        column: the kind of error that the value holds for.
    """

    value: float
    standard_error: float
    column: str


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A named way to judge.

    Attributes:
        direction: whether a larger or a smaller value is better.
        judge: the function that judges.
        needs: what it reads of the evidence besides the reference: "test", "pseudo", "labels", "reconstruction".
        summary: a line for `--help`.
    """

    direction: Literal["maximize", "minimize"]
    judge: Callable[[Evidence], Judgement]
    needs: frozenset[str]
    summary: str

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`."""
        return a > b if self.direction == "maximize" else a < b


def loss(evidence: Evidence) -> Judgement:
    """Mean squared reconstruction error a pixel on the held-out normal images.

    Formula: mean over V of rss^2 / pixels. Source: what an autoencoder is trained for, and what most people tune by.
    Assumes that a better reconstruction is a better detector, which is false: here for comparison. Costs nothing
    beyond the scoring of V. Fails wherever a model reconstructs anomalies too: wide bottlenecks and long training have
    the best of it. Over trials of different crops it compares different images.
    """
    if "rss" not in evidence.reference:
        raise UsageError("the objective 'loss' needs a reconstruction, and this family makes none; use separation")
    squares = np.square(evidence.reference["rss"], dtype=np.float64) / evidence.pixels
    return Judgement(float(squares.mean()), float(squares.std() / np.sqrt(len(squares))), "rss")


def separation(evidence: Evidence) -> Judgement:
    """A = P(score of a test image > score of a held-out normal image), of the kind of error where it is largest.

    Formula: the Mann-Whitney AUC between the reference V and the test images T, with DeLong's standard error. A kind of
    error whose scores speak of more than 60% anomalies (the 99% lower bound of `statistics.estimate_share`) is passed
    over, since it sees how T's normal images differ from V; a model that has no other is worth 0.5. Source:
    Menon et al. 2015, "Learning from corrupted binary labels via class-probability estimation"; Jain et al. 2017;
    Blanchard, Lee and Scott 2010. Assumes that T's normal images are like V: if a share p of T are anomalies, then
    A = 0.5 + p (AUC - 0.5), so that A ranks models as the unknown AUC does, whatever p is. Costs the scoring of V and
    T. Fails where T's normal images differ from V by less than what the 60% show (it then rewards seeing that
    difference), and drowns in noise where p is small: the spread of A over models is p times that of the AUC, its
    standard error stays.
    """
    return _largest(_separations(evidence) or _no_evidence(evidence))


def synthetic(evidence: Evidence) -> Judgement:
    """Mean AUC of held-out normal images against pseudo-anomalies made of others, of the best kind of error.

    Formula: mean over kinds of pseudo-anomaly (`defect_kinds.KINDS`) of the Mann-Whitney AUC between the held-out
    images that are left as they are and the changed ones. Source: CutPaste (Li et al. 2021, arXiv:2104.04015) for the
    first kind; model selection by pseudo-anomalies as in Fung et al. 2023 (arXiv:2306.10677). Assumes that a model that
    sees these changes sees the real anomalies; needs no test image, and no share of anomalies. Costs the scoring of up
    to 256 images a kind. Fails where the real anomalies are of another nature: faces of other people are no damaged
    faces. The standard error is the mean of the kinds', as if they were fully correlated (they share the normal
    images).
    """
    return _largest(_synthetics(evidence))


def both(evidence: Evidence) -> Judgement:
    """Mean of `separation` and `synthetic`, of the kind of error where it is largest.

    Formula: (A + S) / 2 within a trial, for the epoch that is kept; over trials the study has two directions, A and S,
    and `borda` ranks the finished ones. Source: ours; Borda 1781. Assumes that a model that both favour is good,
    and that their faults differ: it holds where anomalies are few, A is noisy and so weighs little, or where T's
    normal images differ from V and S does not look at T. Costs what both cost, and there is no pruning. Fails where
    both do.
    """
    first, second = _separations(evidence) or _no_evidence(evidence), _synthetics(evidence)
    column = max(first, key=lambda name: first[name].value + second[name].value)
    a, b = first[column], second[column]
    error = float(np.hypot(a.standard_error, b.standard_error)) / 2
    return Judgement((a.value + b.value) / 2, error, column)


def consensus(evidence: Evidence) -> Judgement:
    """Spearman's correlation with the mean rank of the finished trials on the test images, of the best kind of error.

    Formula: rho(rank of this model, mean rank of the finished trials' scores); before a trial is finished, with the
    mean rank of its own kinds of error. Source: picking by agreement, as in model centrality (Lin et al. 2020) and the
    survey of Ma et al. 2023 (arXiv:2104.01422). Assumes that most trials are right and err independently, which
    autoencoders do not: they share their faults. Costs the scoring of T. Fails by rewarding the crowd: a model better
    than all others agrees with them less. The value depends on the trials before it. Here for comparison. The standard
    error is that of a correlation, (1 - rho^2) / sqrt(k - 1).
    """
    crowd = evidence.consensus
    if crowd is None:
        crowd = statistics.midranks(np.stack(list(evidence.test.values())).astype(np.float64)).mean(axis=0)
    rho = {name: statistics.rank_correlation(scores, crowd) for name, scores in evidence.test.items()}
    column = max(rho, key=lambda name: (np.nan_to_num(rho[name], nan=-1.0), name))
    value = float(np.nan_to_num(rho[column]))
    return Judgement(value, (1 - value**2) / max(1, len(crowd) - 1) ** 0.5, column)


def labels(evidence: Evidence) -> Judgement:
    """AUC on labels that the user named, of the kind of error where it is largest.

    What is tuned by labels is marked so in every table. Costs nothing beyond the scoring of T; fails to be honest if
    the same labels then judge the result.
    """
    label = evidence.label
    if label is None:
        raise UsageError("the objective 'labels' needs --labels FILE")
    return _largest({name: statistics.auc(label, scores) for name, scores in evidence.test.items()})


def synthetic_kinds(evidence: Evidence, column: str) -> dict[str, float]:
    """AUC of each kind of pseudo-anomaly by one kind of error."""
    return {kind: estimate.value for kind, estimate in _kinds(evidence, column).items()}


def borda(values: npt.ArrayLike) -> Floats64:
    """Mean midrank of each row over several objectives, higher = better.

    Args:
        values: float (n, d), n trials by d objectives, each to be maximised.

    Returns:
        float64 (n,), from 1 (last by all) to n (first by all).
    """
    ranks: Floats64 = statistics.midranks(np.asarray(values, dtype=np.float64).T)
    mean: Floats64 = ranks.mean(axis=0)
    return mean


def implausible_kinds(evidence: Evidence) -> list[str]:
    """The kinds of error that `separation` passes over."""
    return [name for name, scores in evidence.test.items() if statistics.implausible(evidence.reference[name], scores)]


def _separations(evidence: Evidence) -> dict[str, statistics.Estimate | Judgement]:
    implausible = implausible_kinds(evidence)
    return {
        name: statistics.separation(evidence.reference[name], scores)
        for name, scores in evidence.test.items()
        if name not in implausible
    }


def _no_evidence(evidence: Evidence) -> dict[str, statistics.Estimate | Judgement]:
    return {name: Judgement(0.5, 0.5, name) for name in evidence.test}


def _synthetics(evidence: Evidence) -> dict[str, Judgement]:
    found = {}
    for column in evidence.reference:
        kinds = _kinds(evidence, column).values()
        value, error = (float(np.mean([getattr(k, what) for k in kinds])) for what in ("value", "standard_error"))
        found[column] = Judgement(value, error, column)
    return found


def _kinds(evidence: Evidence, column: str) -> dict[str, statistics.Estimate]:
    if not evidence.pseudo:
        raise UsageError("the objectives 'synthetic' and 'both' need pseudo-anomalies")
    normal = evidence.reference[column][evidence.normal_rows]
    return synthetic_aucs(normal, {kind: scores[column] for kind, scores in evidence.pseudo.items()})


def _largest(estimates: Mapping[str, statistics.Estimate | Judgement]) -> Judgement:
    column = max(estimates, key=lambda name: estimates[name].value)
    return Judgement(estimates[column].value, estimates[column].standard_error, column)


OBJECTIVES: dict[str, Objective] = {
    "separation": Objective(
        direction="maximize",
        judge=separation,
        needs=frozenset({"test"}),
        summary="how far test images score above held-out normal ones",
    ),
    "synthetic": Objective(
        direction="maximize",
        judge=synthetic,
        needs=frozenset({"pseudo"}),
        summary="how well damaged normal images are told from untouched ones",
    ),
    "both": Objective(
        direction="maximize",
        judge=both,
        needs=frozenset({"test", "pseudo"}),
        summary="separation and synthetic, ranked by Borda",
    ),
    "consensus": Objective(
        direction="maximize",
        judge=consensus,
        needs=frozenset({"test"}),
        summary="agreement with the other trials, for comparison",
    ),
    "loss": Objective(
        direction="minimize",
        judge=loss,
        needs=frozenset({"reconstruction"}),
        summary="the held-out reconstruction error, for comparison",
    ),
    "labels": Objective(
        direction="maximize", judge=labels, needs=frozenset({"test", "labels"}), summary="AUC on the labels of --labels"
    ),
}
AUTO = "auto"
"""`separation`, until a guard finds that it cannot be trusted; `both` from then on."""


def objective(name: str) -> Objective:
    """Look an objective up.

    Raises:
        UsageError: if there is none of that name; the message lists those there are.
    """
    if name not in OBJECTIVES:
        raise UsageError(f"unknown objective {name!r}; the objectives are {', '.join([AUTO, *OBJECTIVES])}")
    return OBJECTIVES[name]
