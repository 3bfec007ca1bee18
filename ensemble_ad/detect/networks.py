"""The networks of a blend: its members' models, and the columns of the blend that each of them gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ensemble_ad.blend import Blend
from ensemble_ad.data.images import Images
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.detect.explain import Guide
from ensemble_ad.detect.steady import steady_error_vectors
from ensemble_ad.errors import StorageError
from ensemble_ad.families import Model
from ensemble_ad.members.column import Column
from ensemble_ad.members.store import Member
from ensemble_ad.statistics.arrays import Floats32, Floats64
from ensemble_ad.training.load import load_model
from ensemble_ad.training.references import References

_NOISE = 2e-5


@dataclass(frozen=True, kw_only=True)
class Network:
    """A member's trained model, and the blend's columns that it gives, by their position."""

    key: str
    model: Model
    references: References
    preprocess: Preprocess
    flips: bool
    columns: Mapping[int, Column]


def networks_of(members: Sequence[Member], rule: Blend, device: torch.device) -> tuple[Network, ...]:
    """The networks of those members that the score depends on.

    Raises:
        UsageError: as `training.load.load_model`.
        StorageError: as `training.load.load_model`.
    """
    every, counting = [Column.of(name) for name in rule.names], counting_columns(rule)
    networks = []
    for member in members:
        columns = {at: column for at, column in enumerate(every) if column.key == member.key and at in counting}
        if columns:
            networks.append(network_of(member, columns, device))
    return tuple(networks)


def network_of(member: Member, columns: Mapping[int, Column], device: torch.device) -> Network:
    """A member's network, for those columns.

    Raises:
        UsageError: as `training.load.load_model`.
        StorageError: as `training.load.load_model`.
    """
    loaded = load_model(member, device)
    return Network(
        key=member.key,
        model=loaded.model,
        references=loaded.references,
        preprocess=loaded.recipe.preprocess,
        flips=loaded.recipe.flips,
        columns=columns,
    )


def counting_columns(rule: Blend) -> set[int]:
    """The columns that the score depends on."""
    found: set[int] = set()
    for part in rule.parts:
        used = part.weights > 0 if part.forest is None else np.isin(np.arange(len(part.weights)), part.forest.feature)
        found |= set(np.flatnonzero(used).tolist())
    return found


def error_columns(networks: Sequence[Network], images: Images, names: Sequence[str], device: torch.device) -> Floats32:
    """Error vectors of uint8 (n, side, side, C), float32 (n, m) in the order of `names`.

    A column that no network gives is left at 0.

    Raises:
        StorageError: for errors that are not finite.
    """
    rows = np.zeros((len(images), len(names)), dtype=np.float32)
    prepared: dict[Preprocess, torch.Tensor] = {}
    for network in networks:
        seen = network.preprocess
        if seen not in prepared:
            prepared[seen] = torch.tensor(np.ascontiguousarray(apply(images, seen))).to(device)
        found = steady_error_vectors(
            network.model,
            prepared[seen],
            network.references,
            {column.kind for column in network.columns.values()},
            flips=network.flips,
            tiles=seen.tiles,
        )
        for position, (_, kind, inverted) in network.columns.items():
            if kind not in found or not np.isfinite(found[kind]).all():
                raise StorageError(
                    f"{names[position]} gives no finite scores of these images: its weights are damaged; "
                    "blend without it"
                )
            rows[:, position] = -found[kind] if inverted else found[kind]
    return rows


def snapped(rows: Floats32, rule: Blend) -> Floats32:
    """Error vectors (n, m), where an error within the noise of a ranked error is replaced by that one."""
    bases = [part.normaliser.base for part in rule.parts if part.normaliser.name != "robust-z"]
    if not bases:
        return rows
    base, out = max(bases, key=len), rows.copy()
    for position in range(rows.shape[1]):
        known, value = base[:, position], rows[:, position]
        above = np.clip(np.searchsorted(known, value), 0, len(known) - 1)
        below = np.maximum(above - 1, 0)
        nearest = np.where(value - known[below] <= known[above] - value, known[below], known[above])
        noise = _NOISE * np.maximum(np.abs(nearest), np.median(np.abs(known)))
        out[:, position] = np.where(np.abs(value - nearest) <= noise, nearest, value)
    return out


def guides(networks: Sequence[Network], weights: Floats64) -> dict[str, Guide]:
    """The networks that say where an image is anomalous, by their members' keys.

    Args:
        networks: the blend's.
        weights: float64 (m,), of the blend's columns.
    """
    found = {}
    for network in networks:
        weight = sum(weights[at] * (-1 if column.inverted else 1) for at, column in network.columns.items())
        if network.model.map_column is not None and weight:
            found[network.key] = Guide(
                model=network.model,
                preprocess=network.preprocess,
                flips=network.flips,
                residual=network.references.get("residual"),
                inverted=bool(weight < 0),
            )
    return found
