"""The blend: scores, weights, why, and a frozen state that scores new images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.blend.combine import COMBINERS, Column
from ensemble_ad.blend.forest import Forest
from ensemble_ad.blend.normalise import FrozenNormaliser
from ensemble_ad.errors import DataError
from ensemble_ad.statistics import Estimate

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating]

_FORMAT = 1
_BLOCK_NUMBERS = 1 << 22  # rows x members that are combined at a time: 32 MB as float64, however many rows there are
_FOREST_ARRAYS = ("feature", "threshold", "child", "value", "importance")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One frozen scoring rule: normalise, combine, standardise. A blend is a sum of parts, mostly of one.

    Attributes:
        name: The method that made it.
        normaliser: Frozen, for all members.
        combiner: A key of `COMBINERS`, or "forest".
        weights: (m,) non-negative, sum 1.
        centre, scale: The combined score becomes (score - centre) / scale, so that parts can be added.
        share: What the part counts in the sum.
        forest: The trees, where the combiner is "forest"; `weights` then says what each member gains in them.
    """

    name: str
    normaliser: FrozenNormaliser
    combiner: str
    weights: Floats
    centre: float = 0.0
    scale: float = 1.0
    share: float = 1.0
    forest: Forest | None = None

    def combine(self, column: Column, rows: int) -> Floats:
        """Score (rows,) of rows whose normalised members `column` gives, (rows,) each; times `share`."""
        if self.forest is None:
            combined = COMBINERS[self.combiner](column, self.weights)
        else:
            # The trees index members by their column; those that no tree asks for need not be there.
            table = np.zeros((rows, len(self.weights)))
            for member in np.unique(self.forest.feature[self.forest.feature >= 0]):
                table[:, member] = column(int(member))
            combined = self.forest.score(table)
        result: Floats = self.share * ((combined - self.centre) / self.scale)
        return result

    def of_normalised(self, table: Numbers, reshape: Callable[[Numbers], Numbers] = lambda column: column) -> Floats:
        """Scores (r,) of rows (r, m) that are normalised, or become so by `reshape` of a member's column."""
        out = np.empty(len(table))
        for place in _row_blocks(table):
            block = table[place]
            out[place] = self.combine(lambda j, block=block: reshape(block[:, j]), len(block))  # type: ignore[misc]
        return out


def total_score(parts: tuple[Part, ...], rows: Numbers) -> Floats:
    """The sum of the parts' scores of raw rows (r, m) -> (r,); parts on one base of ranks look it up once."""
    total = np.zeros(len(rows))
    for place in _row_blocks(rows):
        total[place] = _block_score(parts, rows[place])
    return total


def _block_score(parts: tuple[Part, ...], rows: Numbers) -> Floats:
    known: dict[tuple[int, int], tuple[Floats, Floats]] = {}
    total = np.zeros(len(rows))
    for part in parts:

        def column(member: int, normaliser: FrozenNormaliser = part.normaliser) -> Floats:
            if normaliser.name == "robust-z":
                return normaliser.transform_column(rows[:, member], member)
            key = (id(normaliser.base), member)
            if key not in known:
                known[key] = normaliser.counts(rows[:, member], member)
            return normaliser.from_counts(*known[key])

        total += part.combine(column, len(rows))
    return total


def _row_blocks(table: Numbers) -> Iterator[slice]:
    height = max(1, _BLOCK_NUMBERS // table.shape[1])
    for start in range(0, len(table), height):
        yield slice(start, start + height)


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A finished blend.

    Attributes:
        scores: (k,) anomaly score of every test image, higher = more anomalous.
        weights: (m,) what each member counts, non-negative, sum 1.
        method: The concrete method; where `auto` was asked for, the one it picked.
        explanation: What was done and why, and the guards that fired, in plain words.
        normaliser: Name(s) of the normaliser(s).
        separation: Out-of-fold separation of test from reference: of rules fitted without the images they scored.
        names: The members' names, in the columns' order.
        guards: A line for each guard that fired.
        parts: The frozen rules that `score` adds up.
    """

    scores: Floats
    weights: Floats
    method: str
    explanation: str
    normaliser: str
    separation: Estimate
    names: tuple[str, ...]
    guards: tuple[str, ...] = ()
    parts: tuple[Part, ...] = field(repr=False, default=())

    def score(self, new: ArrayLike) -> Floats:
        """Scores (r,) of new rows (r, m), members in the same order; a row's score depends on that row alone.

        The rows that the blend was made of get the scores that they have in it (to 1e-3 of the score's spread where
        there are more than 50,000 of them, since the frozen ranks are then thinned).

        Raises:
            DataError: Another number of columns, or values that are not finite.
        """
        rows = np.asarray(new)
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
                    "share": part.share,
                    "trees": part.forest.trees if part.forest is not None else 0,
                }
            )
        bases: list[Numbers] = []
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
            "separation": asdict(self.separation),
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
    def from_state(cls, state: Mapping[str, object]) -> Blend:
        """The blend that gave this `state()`; the string may have become a numpy string or bytes on the way.

        Raises:
            DataError: No blend's state, or one of a later format.
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
                share=part["share"],
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
            separation=Estimate(**text["separation"]),
            names=tuple(text["names"]),
            guards=tuple(text["guards"]),
            parts=parts,
        )


def _forest(state: Mapping[str, object], part: int, trees: int) -> Forest | None:
    if not trees:
        return None
    arrays = {name: np.asarray(state[f"part{part}.{name}"]) for name in _FOREST_ARRAYS}
    return Forest(trees=trees, **arrays)
