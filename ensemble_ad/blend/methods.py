"""The named blend methods: a normaliser, a weigher and a combiner each."""

from dataclasses import dataclass, replace

from ensemble_ad.blend.normalise import BOUNDED, NORMALISERS
from ensemble_ad.blend.weight import NEED_BOUNDED, UNLEARNT
from ensemble_ad.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Method:
    """How a blend is made.

    Attributes:
        normaliser: key of `NORMALISERS`.
        weigher: key of `WEIGHERS`.
        combiner: key of `COMBINERS`.
        summary: one line for a user.
    """

    normaliser: str
    weigher: str
    combiner: str
    summary: str

    @property
    def needs_test(self) -> bool:
        """Whether it needs test images: to learn from, or to rank among."""
        return self.weigher not in UNLEARNT or self.normaliser == "rank"


METHODS: dict[str, Method] = {
    "mean": Method(
        normaliser="pooled-rank", weigher="equal", combiner="weighted-mean", summary="mean of the members' ranks"
    ),
    "median": Method(
        normaliser="pooled-rank", weigher="equal", combiner="median", summary="median of the members' ranks"
    ),
    "max": Method(normaliser="pooled-rank", weigher="equal", combiner="max", summary="highest of the members' ranks"),
    "top": Method(
        normaliser="pooled-rank", weigher="equal", combiner="top", summary="mean of an image's three highest ranks"
    ),
    "tail-mean": Method(
        normaliser="tail",
        weigher="equal",
        combiner="weighted-mean",
        summary="mean over members of -log p among the reference images",
    ),
    "prior": Method(
        normaliser="tail",
        weigher="prior",
        combiner="weighted-mean",
        summary="mean of -log p over those that see pseudo-anomalies best, by themselves or together",
    ),
    "given": Method(
        normaliser="pooled-rank", weigher="given", combiner="weighted-mean", summary="ranks with the user's weights"
    ),
    "best-separation": Method(
        normaliser="pooled-rank",
        weigher="best-separation",
        combiner="weighted-mean",
        summary="the one member that separates test from reference best",
    ),
    "greedy": Method(
        normaliser="pooled-rank",
        weigher="greedy",
        combiner="weighted-mean",
        summary="greedy selection with replacement on separation",
    ),
    "greedy-bagged": Method(
        normaliser="pooled-rank",
        weigher="greedy-bagged",
        combiner="weighted-mean",
        summary="mean of greedy selections on halves of the members",
    ),
    "pu-lda": Method(
        normaliser="gauss",
        weigher="pu-lda",
        combiner="weighted-mean",
        summary="non-negative Fisher direction of test against reference",
    ),
    "pu-logistic": Method(
        normaliser="gauss",
        weigher="pu-logistic",
        combiner="weighted-mean",
        summary="non-negative logistic regression of test against reference, cross-fitted",
    ),
    "select": Method(
        normaliser="pooled-rank",
        weigher="select",
        combiner="weighted-mean",
        summary="SELECT: the members that agree with the consensus",
    ),
    "spectral": Method(
        normaliser="pooled-rank",
        weigher="spectral",
        combiner="weighted-mean",
        summary="spectral meta-learner: leading eigenvector of the members' covariance",
    ),
    "labels": Method(
        normaliser="gauss",
        weigher="labels",
        combiner="weighted-mean",
        summary="non-negative logistic regression on labels that the user names",
    ),
}

PRIOR = "prior"
"""What `auto` is without test images."""
AUTO = "auto"
"""The method that is no triple: see `ensemble_ad.blend.auto`."""


def method_names() -> list[str]:
    """All methods that `blend_scores` takes."""
    return [AUTO, *METHODS]


def find_method(name: str, normaliser: str | None) -> Method:
    """`METHODS[name]`, with another normaliser where one is named.

    Raises:
        UsageError: for an unknown method or normaliser, or two that do not go together; the message lists what does.
    """
    if name not in METHODS:
        raise UsageError(f"no blend method {name!r}: known are {', '.join(method_names())}")
    method = METHODS[name]
    if normaliser is None:
        return method
    if normaliser not in NORMALISERS:
        raise UsageError(f"no normaliser {normaliser!r}: known are {', '.join(NORMALISERS)}")
    if method.weigher in NEED_BOUNDED and normaliser not in BOUNDED:
        raise UsageError(f"{name!r} needs scores in [0, 1], not {normaliser!r}: normalise by {', '.join(BOUNDED)}")
    return replace(method, normaliser=normaliser)
