"""The blend: scores, weights, why, and a frozen state that scores new images."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.blend.forest import Forest
from ensemble_ad.blend.normalise import FrozenNormaliser
from ensemble_ad.blend.rule import Part, total_score
from ensemble_ad.blend.shown import as_html, in_a_line, with_error
from ensemble_ad.errors import DataError, speaks_python
from ensemble_ad.statistics import Estimate
from ensemble_ad.statistics.arrays import Floats, Floats64, as_floats, in_order, turned_numbers, unnamed
from ensemble_ad.statistics.implied import Share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = 1
_FOREST_ARRAYS = ("feature", "threshold", "child", "value", "importance")


@dataclass(frozen=True, kw_only=True, repr=False)
class Blend:
    """A finished blend.

    Attributes:
        scores: (k,) anomaly score of every test image, higher = more anomalous.
        weights: (m,) what each member counts, non-negative, sum 1.
        method: the method; where `auto` was asked for, what it picked.
        explanation: what was done and why, and the guards that fired, in plain words.
        normaliser: name(s) of the normaliser(s).
        separation: separation of test from reference, out of fold: by rules fitted without the images they scored; None
            without test images.
        names: the members' names, in the order of the columns.
        guards: a line for each guard that fired.
        share: the share of anomalies, given or estimated; None where there are too few images, and of a blend that was
            read from its state.
        parts: the frozen parts of the rule, whose scores `score` adds up.
    """

    scores: Floats64
    weights: Floats64
    method: str
    explanation: str
    normaliser: str
    separation: Estimate | None
    names: tuple[str, ...]
    guards: tuple[str, ...] = ()
    share: Share | None = None
    parts: tuple[Part, ...] = field(repr=False, default=())

    def __repr__(self) -> str:
        return f"Blend({in_a_line(self.method, self._named_weights(), self.separation)})"

    def _repr_html_(self) -> str:
        facts = {"Blend": f"{self.method}, {len(self.scores)} test images"}
        if self.separation is not None:
            facts["Separation"] = with_error(self.separation)
        rows = sorted(self._named_weights().items(), key=lambda pair: -pair[1])
        return as_html(facts, ("member", "weight"), [(name, f"{weight:.3f}") for name, weight in rows])

    def _named_weights(self) -> dict[str, float]:
        return dict(zip(self.names, self.weights.tolist(), strict=True))

    def plot(self) -> "Figure":
        """A figure of matplotlib's: the members' weights, and how the test images' scores are spread.

        No window is opened: a notebook shows it, `savefig` writes it.

        Raises:
            UsageError: if matplotlib is not installed.
        """
        from ensemble_ad.blend.plots import weights_and_scores

        return weights_and_scores(self._named_weights(), {"test images": self.scores})

    @speaks_python
    def score(self, new: ArrayLike) -> Floats64:
        """Scores (r,) of new rows (r, m); a row's score depends on that row alone.

        Columns are members in the same order; those of a DataFrame are taken by their names, where the blend has names.

        The rows that the blend was made of get the scores that they have in it; where there are more than 50,000 of
        them, to 1e-3 of the scores' spread, since only some of the ranks are then kept.

        Raises:
            DataError: for another number of columns, other names, or values that are masked or not finite.
        """
        named = self.names != unnamed(len(self.names))
        order = self.names if named else turned_numbers(new)
        rows = as_floats(new if order is None else in_order(new, order, "new rows"), "new rows")
        if rows.ndim != 2 or rows.shape[1] != len(self.weights):
            raise DataError(
                f"new rows have to hold the blend's {len(self.weights)} members in columns, got shape {rows.shape}: "
                f"pass the errors of {', '.join(self.names[:5])}{', ...' if len(self.names) > 5 else ''} in that order"
            )
        if not (np.isfinite(rows.min(initial=0)) and np.isfinite(rows.max(initial=0))):
            column = int(np.argwhere(~np.isfinite(rows))[0][1])
            raise DataError(f"scores have to be finite, member {self.names[column]!r} is not: recompute it")
        return total_score(self.parts, rows)

    def state(self) -> dict[str, NDArray[np.generic] | str]:
        """All of the blend as numpy arrays and one JSON string (`json`), for npz or safetensors; no pickle."""
        normalisers: list[FrozenNormaliser] = []
        arrays: dict[str, NDArray[np.generic]] = {"scores": self.scores, "weights": self.weights}
        described = []
        for index, part in enumerate(self.parts):
            position = next((i for i, known in enumerate(normalisers) if known is part.normaliser), len(normalisers))
            if position == len(normalisers):
                normalisers.append(part.normaliser)
            arrays[f"part{index}.weights"] = part.weights
            if part.forest is not None:
                arrays |= {f"part{index}.{name}": getattr(part.forest, name) for name in _FOREST_ARRAYS}
            described.append(
                {
                    "name": part.name,
                    "normaliser": position,
                    "combiner": part.combiner,
                    "centre": part.centre,
                    "scale": part.scale,
                    "share": part.portion,
                    "trees": part.forest.trees if part.forest is not None else 0,
                }
            )
        bases: list[Floats] = []
        for normaliser in normalisers:
            # Several normalisers may share one base of ranks, by far the largest array: save it once.
            if not any(normaliser.base is base for base in bases):
                arrays[f"base{len(bases)}"] = np.ascontiguousarray(normaliser.base)
                arrays[f"count{len(bases)}"] = normaliser.count
                bases.append(normaliser.base)
        text = {
            "format": _FORMAT,
            "method": self.method,
            "explanation": self.explanation,
            "normaliser": self.normaliser,
            "separation": self.separation and asdict(self.separation),
            "names": list(self.names),
            "guards": list(self.guards),
            "normalisers": [
                {"name": one.name, "base": next(i for i, base in enumerate(bases) if base is one.base)}
                for one in normalisers
            ],
            "parts": described,
        }
        return {"json": json.dumps(text), **arrays}

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> Self:
        """The blend whose `state()` this is; the string may have become a numpy string or bytes on the way.

        Raises:
            DataError: for what is no blend's state, or one of a later format.
        """
        if "json" not in state:
            raise DataError(f"a blend's state holds 'json', got {sorted(state)}: pass what Blend.state() returned")
        raw = state["json"]
        raw = raw.item() if isinstance(raw, np.ndarray) and raw.ndim == 0 else raw
        raw = raw.tobytes() if isinstance(raw, np.ndarray) else raw
        text: dict[str, Any] = json.loads(raw)  # type: ignore[arg-type]
        if text["format"] > _FORMAT:
            raise DataError(
                f"this version reads blends up to format {_FORMAT}, got {text['format']}: update ensemble_ad"
            )
        bases = 1 + max((one["base"] for one in text["normalisers"]), default=-1)
        arrays = [(np.asarray(state[f"base{i}"]), np.asarray(state[f"count{i}"])) for i in range(bases)]
        normalisers = [
            FrozenNormaliser(name=one["name"], base=arrays[one["base"]][0], count=arrays[one["base"]][1])
            for one in text["normalisers"]
        ]
        parts = tuple(
            Part(
                name=part["name"],
                normaliser=normalisers[part["normaliser"]],
                combiner=part["combiner"],
                weights=np.asarray(state[f"part{index}.weights"]),
                centre=part["centre"],
                scale=part["scale"],
                portion=part["share"],
                forest=_forest(state, index, part["trees"]),
            )
            for index, part in enumerate(text["parts"])
        )
        return cls(
            scores=np.asarray(state["scores"]),
            weights=np.asarray(state["weights"]),
            method=text["method"],
            explanation=text["explanation"],
            normaliser=text["normaliser"],
            separation=text["separation"] and Estimate(**text["separation"]),
            names=tuple(text["names"]),
            guards=tuple(text["guards"]),
            parts=parts,
        )


def _forest(state: Mapping[str, object], part: int, trees: int) -> Forest | None:
    """The forest of a part, by the part's index; None where it has no trees."""
    if not trees:
        return None
    arrays = {name: np.asarray(state[f"part{part}.{name}"]) for name in _FOREST_ARRAYS}
    return Forest(trees=trees, **arrays)
