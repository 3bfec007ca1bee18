"""The names of the types of arrays, and the checks that an array holds scores or labels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_ad.errors import DataError

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Floats = NDArray[np.floating]
"""Either of the two."""
_EXACT = 1 << 53
Bools = NDArray[np.bool_]
Labels = NDArray[np.int8]
"""0 for normal images, 1 for anomalies."""


def as_scores(values: ArrayLike, name: str, ndim: int) -> Floats:
    """`values` as a float array of `ndim` dimensions, never empty, never NaN (infinities rank like any number).

    Raises:
        DataError: if they are none; for a NaN the message names its column.
    """
    array = as_floats(values, name)
    if array.ndim != ndim:
        want = "one number an image" if ndim == 1 else "images x columns"
        raise DataError(f"{name} has to have {ndim} dimension(s) ({want}), got shape {array.shape}: reshape it")
    if array.size == 0:
        raise DataError(f"{name} is empty, shape {array.shape}: at least one image is needed")
    if np.isnan(array.min()):  # a NaN is every minimum, and needs no second array to be found
        bad = np.isnan(array)
        first = np.argwhere(bad)[0]
        where = f"row {first[0]}" if ndim == 1 else f"column {first[1]}, row {first[0]}"
        raise DataError(f"{name} must not contain NaN, got {int(bad.sum())} (first: {where}): drop or recompute them")
    return array


def as_floats(values: ArrayLike, name: str) -> Floats:
    """`values` as an array of float32 where they are that, else of float64.

    Raises:
        DataError: if they are no numbers, or some of them are masked: what lies under a mask is no score.
    """
    if np.ma.is_masked(values):
        raise DataError(f"{name} has masked values: drop those images or members, or fill them with .filled(...)")
    array = np.asarray(values)
    if array.dtype in (np.float32, np.float64):
        return array
    try:
        if array.dtype.kind in "cmM":  # which numpy would make numbers of, without a word
            raise TypeError(array.dtype.name)
        found = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} has to hold numbers, got dtype {array.dtype}: convert it first") from error
    if array.dtype.kind in "iu" and array.size and max(-int(array.min()), int(array.max())) > _EXACT:
        raise DataError(
            f"{name} has whole numbers beyond 2^53, whose differences floats lose: subtract what they have in common"
        )
    return found


def shared_names(first: object, second: object) -> tuple[str, ...] | None:
    """The names of the columns of two tables, in the order of the first that has some; None where neither has.

    Only DataFrames (pandas, polars) have names. The numbers that pandas gives columns by itself are none, unless the
    second table has the same ones in another order.
    """
    for table in (first, second):
        names = _names(table)
        if names is not None and (names != _counted(names) or turned_numbers(second) == names):
            return names
    return None


def turned_numbers(table: object) -> tuple[str, ...] | None:
    """The numbers that pandas gives columns by itself, in their order, where those of `table` are in another; or None.

    A table that was made with such columns, which have been moved since, has them.
    """
    names = _names(table)
    if names is None or names == _counted(names) or sorted(names) != sorted(_counted(names)):
        return None
    return _counted(names)


def _names(table: object) -> tuple[str, ...] | None:
    names = getattr(table, "columns", None)
    return None if names is None or not hasattr(table, "to_numpy") else tuple(map(str, names)) or None


def _counted(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(str, range(len(names))))


def unnamed(columns: int) -> tuple[str, ...]:
    """The names of members that nobody has named."""
    return tuple(f"member {i}" for i in range(columns))


def in_order(values: ArrayLike, order: tuple[str, ...], name: str) -> ArrayLike:
    """`values` with its columns in that order, by their names; arrays, which have none, as they are.

    Raises:
        DataError: if a DataFrame's columns are others, or one of them twice.
    """
    there = _names(values)
    if there is None or (there == _counted(there) and set(there) != set(order)):
        return values
    if len(set(there)) < len(there) or set(there) != set(order):
        differ = sorted(set(there) ^ set(order)) or sorted({each for each in there if there.count(each) > 1})
        raise DataError(
            f"{name} has to have the columns {', '.join(order[:5])}{', ...' if len(order) > 5 else ''}, each once, but "
            f"{', '.join(differ[:3])} differ: select them, or pass .to_numpy() where they are in order"
        )
    array: NDArray[np.generic] = values.to_numpy()  # type: ignore[union-attr]
    return array[:, [there.index(each) for each in order]]


def check_paired(first: object, second: object, names: str) -> None:
    """Refuse two pandas objects whose rows belong together and are in another order.

    Raises:
        DataError: if both have an index, and the two differ.
    """
    indexes = [getattr(each, "index", None) for each in (first, second) if hasattr(each, "iloc")]
    if len(indexes) == 2 and not indexes[0].equals(indexes[1]):  # type: ignore[union-attr]
        raise DataError(f"{names} have different indexes: bring one into the other's order with .loc, or drop them")


def as_labels(values: ArrayLike, length: int) -> Bools:
    """Labels of `length` images as booleans (True = anomaly), both classes present.

    Raises:
        DataError: for a wrong shape, another length, values other than 0 and 1, or one class only.
    """
    if np.ma.is_masked(values):
        raise DataError("labels have masked values: leave those images out of labels and scores")
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"labels have to have 1 dimension, got shape {array.shape}: pass one 0 or 1 an image")
    if len(array) != length:
        raise DataError(f"labels and scores have to have one length, got {len(array)} and {length}: align them by id")
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        odd = array[~np.isin(array, (0, 1))][0]
        raise DataError(f"labels have to be 0 (normal) or 1 (anomaly), got {odd!r}: map them first")
    flags = array.astype(bool)
    if flags.all() or not flags.any():
        only = int(flags[0])
        raise DataError(f"labels have to hold both 0 and 1, got {length} times {only}: an AUC needs both classes")
    return flags
