"""What a blend is asked for: scores, method and options, checked before anything is fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_ad.blend.methods import AUTO, METHODS, PRIOR, Method, find_method
from ensemble_ad.blend.seen import SeenDefects
from ensemble_ad.errors import DataError, UsageError, in_one_line
from ensemble_ad.statistics.arrays import (
    Bools,
    Floats,
    Floats64,
    as_floats,
    as_labels,
    check_paired,
    in_order,
    shared_names,
    unnamed,
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `blend_scores` is asked for.

    Attributes:
        reference, test: (n, m) and (k, m) finite scores.
        names: (m,) names of the members.
        asked: the method's name.
        method: the method; None for `auto`.
        weights: (m,) the user's weights, for the method `given`; else None.
        anomaly_share: share of anomalies that the user gave, or None.
        label: (k,) True for anomalies, for the method `labels`; else None.
        seed: seed of all random choices.
        pseudo: (d, m) scores of pseudo-anomalies by their kind; a column of NaN where a member has none.
        seen: how well members see them; None where there are none.
        transductive: (m,) True for members that were trained on the test images too.
    """

    reference: Floats
    test: Floats
    names: tuple[str, ...]
    asked: str
    method: Method | None
    weights: Floats64 | None
    anomaly_share: float | None
    label: Bools | None
    seed: int
    pseudo: Mapping[str, Floats]
    seen: SeenDefects | None
    transductive: Bools


def check_request(
    reference: ArrayLike,
    test: ArrayLike,
    *,
    method: str,
    weights: ArrayLike | Mapping[str, float] | None,
    normaliser: str | None,
    names: Sequence[str] | None,
    anomaly_share: float | None,
    label: ArrayLike | None,
    seed: int,
    pseudo: Mapping[str, ArrayLike],
    transductive: ArrayLike | None,
) -> Request:
    """The request that the arguments of `blend_scores` make.

    Raises:
        DataError, UsageError: as for `blend_scores`.
    """
    known = shared_names(reference, test)
    low, high = (
        _table(side if known is None else in_order(side, known, name), name, least=int(name == "reference"))
        for side, name in ((reference, "reference"), (test, "test"))
    )
    columns = low.shape[1]
    if columns != high.shape[1]:
        raise DataError(
            "reference and test have to have the same members in columns, "
            f"got {columns} and {high.shape[1]}: score both with the same members"
        )
    called = _names(known if names is None else names, columns)
    if known is not None and called != known and set(called) == set(known):
        raise DataError("names has the columns' own names in another order, and would mix them up: drop it")
    _check_finite(low, "reference", called)
    _check_finite(high, "test", called)
    given = None if weights is None else _weights(weights, called)
    if given is not None and method == AUTO:
        method = "given"
    if given is not None and method != "given":
        raise UsageError(f"weights go with the method 'given', got {method!r}: drop the one or the other")
    if anomaly_share is not None and not 0.0 < anomaly_share < 1.0:
        raise UsageError(f"the anomaly share lies between 0 and 1, got {anomaly_share}: pass for example 0.5")
    if label is not None and method != "labels":
        raise UsageError(f"labels go with the method 'labels', got {method!r}: nothing else may see them")
    if label is not None:
        check_paired(label, test, "label and test")
    flags = None if label is None else as_labels(label, len(high))
    if method == AUTO and normaliser is not None:
        raise UsageError(f"'auto' chooses its normalisers, got {normaliser!r}: name a method or drop the normaliser")
    if not len(high) and method == AUTO:
        method = PRIOR
    if not len(high) and method in METHODS and METHODS[method].needs_test:
        unlearnt = ", ".join(name for name, each in METHODS.items() if not each.needs_test)
        raise DataError(f"the method {method!r} needs test images, and there are none: use one of {unlearnt}")
    damaged = {kind: _pseudo(scores, kind, columns) for kind, scores in pseudo.items()}
    return Request(
        reference=low,
        test=high,
        names=called,
        asked=method,
        method=None if method == AUTO else find_method(method, normaliser),
        weights=given,
        anomaly_share=anomaly_share,
        label=flags,
        seed=seed,
        pseudo=damaged,
        seen=SeenDefects.of(low, damaged),
        transductive=_flags(transductive, columns),
    )


def _table(values: ArrayLike, name: str, least: int = 1) -> Floats:
    array = as_floats(values, name)
    if array.ndim != 2:
        raise DataError(f"{name} has to be images x members, got shape {array.shape}: pass a 2-D array")
    if len(array) < least or array.shape[1] == 0:
        raise DataError(f"{name} is empty, shape {array.shape}: at least one image and one member are needed")
    return array


def _pseudo(values: ArrayLike, kind: str, columns: int) -> Floats:
    array = _table(values, f"pseudo[{kind!r}]")
    if array.shape[1] != columns:
        raise DataError(f"pseudo[{kind!r}] has to hold {columns} members in columns, got {array.shape[1]}: align them")
    return array


def _flags(values: ArrayLike | None, columns: int) -> Bools:
    if values is None:
        return np.zeros(columns, dtype=bool)
    array = np.asarray(values)
    if array.shape != (columns,) or not np.isin(array, (0, 1)).all():
        raise DataError(
            f"transductive has to hold a 0 or a 1 for each of {columns} members, got {array.tolist()!r:.50}"
        )
    return array.astype(bool)


def _names(names: Sequence[str] | None, columns: int) -> tuple[str, ...]:
    called = unnamed(columns) if names is None else tuple(str(name) for name in names)
    if len(called) != columns:
        raise DataError(f"names has to hold one name a member, got {len(called)} for {columns} members: align them")
    return called


def _check_finite(table: Floats, name: str, called: tuple[str, ...]) -> None:
    # The extremes tell it without a second table.
    if np.isfinite(table.min(initial=0)) and np.isfinite(table.max(initial=0)):
        return
    bad = (~np.isfinite(table)).sum(axis=0)
    column = int(np.argmax(bad > 0))
    raise DataError(
        f"scores have to be finite, {name} has {bad[column]} that are not in column {column} "
        f"({called[column]}): recompute that member or leave it out"
    )


def _weights(weights: ArrayLike | Mapping[str, float], called: tuple[str, ...]) -> Floats64:
    columns = len(called)
    try:
        given = np.asarray(_by_place(weights, called), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"weights have to hold one number a member: {in_one_line(error)}") from error
    if given.shape != (columns,):
        raise DataError(f"weights have to hold one number a member, got shape {given.shape} for {columns} members")
    if not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise DataError(f"weights have to be at least 0 and not all 0, got {given.tolist()[:20]}: correct them")
    return given


def _by_place(weights: ArrayLike | Mapping[str, float], called: tuple[str, ...]) -> ArrayLike:
    """The weights of a dict or of a pandas Series in the members' order, by their names; others as they are.

    Raises:
        DataError: if the names are others.
    """
    if not isinstance(weights, Mapping) and not (hasattr(weights, "index") and hasattr(weights, "items")):
        return weights
    names, values = zip(*((str(name), value) for name, value in weights.items()), strict=True)
    if sorted(names) == sorted(called):
        return [values[names.index(name)] for name in called]
    if not isinstance(weights, Mapping) and names == tuple(map(str, range(len(called)))):
        return list(values)  # a Series that nobody has named
    raise DataError(f"weights have to name the members {', '.join(called)[:200]}, not {', '.join(names)[:200]}")
