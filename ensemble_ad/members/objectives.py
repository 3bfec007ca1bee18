"""How good a model is, without labels: named objectives, each a pure function of a model's error vectors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ensemble_ad import statistics
from ensemble_ad.errors import UsageError
from ensemble_ad.members.defect_aucs import pooled, synthetic_aucs
from ensemble_ad.statistics.arrays import Floats32, Floats64, Labels
from ensemble_ad.statistics.belief import Belief

AUTO = "auto"
"""The objective of a study that is asked for none."""
_BOTH = "both"  # of older versions, whose members keep that name


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A model's error vectors after an epoch, and what else an objective may judge them by.

    Attributes:
        reference: float32 (n,) by kind of error, the scores of held-out normal images.
        test: float32 (k,) by kind of error, the scores of the test images.
        pixels: how many numbers an image has, to make a mean of a sum.
        pseudo: float32 (j,) by kind of pseudo-anomaly, then by kind of error.
        normal_rows: int64 (r,), the rows of the reference that no pseudo-anomaly was made of.
        belief: how much the test images say beside the pseudo-anomalies.
        consensus: float64 (k,), mean rank of the test images over the finished trials; None before the first.
        label: (k,) of 0 and 1, where the user named labels.
    """

    reference: Mapping[str, Floats32]
    test: Mapping[str, Floats32]
    pixels: int
    pseudo: Mapping[str, Mapping[str, Floats32]] = field(default_factory=dict)
    normal_rows: npt.NDArray[np.int64] | None = None
    belief: Belief = field(default_factory=Belief)
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
        takes: what it reads besides where it is there: "test".
        summary: a line for `--help`.
    """

    direction: Literal["maximize", "minimize"]
    judge: Callable[[Evidence], Judgement]
    needs: frozenset[str]
    summary: str
    takes: frozenset[str] = frozenset()

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
    return _largest(separations(evidence) or _no_evidence(evidence))


def synthetic(evidence: Evidence) -> Judgement:
    """AUC of held-out normal images against pseudo-anomalies made of others, pooled, of the best kind of error.

    Formula: the Mann-Whitney AUC between the held-out images that are left as they are and the changed ones, pooled
    over the kinds of pseudo-anomaly (`defect_kinds.KINDS`, `defect_aucs.pooled`). Source: CutPaste (Li et al. 2021,
    arXiv:2104.04015) for the first kind; model selection by pseudo-anomalies as in Fung et al. 2023 (arXiv:2306.10677).
    Assumes that a model that sees these changes sees the real anomalies; needs no test image, and no share of
    anomalies. Costs the scoring of up to 256 images a kind. Fails where the real anomalies are of another nature: faces
    of other people are no damaged faces. The standard error is the mean of the kinds', as if they were fully correlated
    (they share the normal images).
    """
    return _largest(synthetics(evidence))


def auto(evidence: Evidence) -> Judgement:
    """The AUC that is believed: what pseudo-anomalies promise, moved by separation; of the best kind of error.

    Formula and source: `statistics.belief`. With no test image its order is that of `synthetic`, with many anomalies
    among many images that of `separation`, and between them each counts by what it is worth. A kind of error that
    `separation` passes over counts as if it separated nothing. Assumes what the two do, and that the share of anomalies
    is about what the detectors saw that the belief stands on. Costs what both cost. Fails where both do, and where
    pseudo-anomalies mislead and anomalies are rare: there nothing corrects them. The standard error is that of a
    model's AUC beside those of other models on the same images.
    """
    belief, shown, promised = evidence.belief, separations(evidence), synthetics(evidence)
    column, value = max(
        (
            (name, belief.auc(each.value, shown[name].value if name in shown else 0.5))
            for name, each in promised.items()
        ),
        key=lambda pair: pair[1],
    )
    return Judgement(value, belief.standard_error, column)


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


def implausible_kinds(evidence: Evidence) -> list[str]:
    """The kinds of error that `separation` passes over."""
    return [name for name, scores in evidence.test.items() if statistics.implausible(evidence.reference[name], scores)]


def separations(evidence: Evidence) -> dict[str, statistics.Estimate | Judgement]:
    """The separation of each kind of error, without the implausible ones."""
    implausible = implausible_kinds(evidence)
    return {
        name: statistics.separation(evidence.reference[name], scores)
        for name, scores in evidence.test.items()
        if name not in implausible
    }


def _no_evidence(evidence: Evidence) -> dict[str, statistics.Estimate | Judgement]:
    return {name: Judgement(0.5, 0.5, name) for name in evidence.test}


def synthetics(evidence: Evidence) -> dict[str, Judgement]:
    """The AUC of pseudo-anomalies, pooled over their kinds, of each kind of error."""
    found = {}
    for column in evidence.reference:
        kinds = _kinds(evidence, column).values()
        error = float(np.mean([kind.standard_error for kind in kinds]))
        found[column] = Judgement(pooled(kind.value for kind in kinds), error, column)
    return found


def _kinds(evidence: Evidence, column: str) -> dict[str, statistics.Estimate]:
    if not evidence.pseudo:
        raise UsageError("the objectives 'auto' and 'synthetic' need pseudo-anomalies")
    normal = evidence.reference[column][evidence.normal_rows]
    return synthetic_aucs(normal, {kind: scores[column] for kind, scores in evidence.pseudo.items()})


def _largest(estimates: Mapping[str, statistics.Estimate | Judgement]) -> Judgement:
    column = max(estimates, key=lambda name: estimates[name].value)
    return Judgement(estimates[column].value, estimates[column].standard_error, column)


OBJECTIVES: dict[str, Objective] = {
    AUTO: Objective(
        direction="maximize",
        judge=auto,
        needs=frozenset({"pseudo"}),
        takes=frozenset({"test"}),
        summary="the AUC that is believed: synthetic, moved by separation as far as that can be believed",
    ),
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


def objective(name: str) -> Objective:
    """Look an objective up.

    Raises:
        UsageError: if there is none of that name; the message lists those there are.
    """
    if name == _BOTH:
        raise UsageError("the objective 'both' is gone, since auto weighs separation and synthetic by itself; use auto")
    if name not in OBJECTIVES:
        raise UsageError(f"unknown objective {name!r}; the objectives are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]
