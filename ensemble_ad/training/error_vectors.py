"""A trained model's error vectors: all kinds of error, or those asked for, in one pass over the images."""

from collections.abc import Collection, Iterator
from types import MappingProxyType

import torch
from torch import Tensor

from ensemble_ad.errors import DivergedError
from ensemble_ad.families import Model, Output
from ensemble_ad.families.reconstruction import ERROR_KINDS, residual_grid
from ensemble_ad.statistics.arrays import Floats32
from ensemble_ad.training.device import float32_products
from ensemble_ad.training.references import DISTANCES, Reference, References, column
from ensemble_ad.training.step import to_input
from ensemble_ad.training.tiles import of_images, of_one_tile

# On the CPU a batch and its maps should stay in the processor's cache, so there are the more images in it the smaller
# they are: numbers, and how many images at least and at most, by whether the model's maps are wide. Of large images,
# batches are bounded by numbers: 4 MB and 256 MB of float32, of which scoring has a dozen at most.
_CPU_CACHED = {False: (1 << 18, 64, 128), True: (1 << 16, 8, 64)}
_GPU_BATCH = 1024
_CPU_NUMBERS, _GPU_NUMBERS = 1 << 20, 1 << 26


def reference_rows(rows: Tensor, most: int = 2000) -> Tensor:
    """`most` of the rows of all training images, int64 (n,), evenly spread: for `fit_references` and `settle`."""
    places = torch.linspace(0, len(rows) - 1, min(len(rows), most), device=rows.device)
    return rows[places.long()]


@torch.inference_mode()
def fit_references(model: Model, images: Tensor, *, flips: bool = False) -> dict[str, Reference]:
    """Fit a `Reference` to each of a model's bottlenecks, and to its residuals.

    Args:
        model: in evaluation mode.
        images: uint8 (n, H, W, C), training images.
        flips: take their mirror images too.

    Raises:
        DivergedError: if they are not finite.
    """
    batches = torch.split(images, batch_size(images, wide=model.wide))
    with float32_products("fp32", images.device):
        parts = [_points(view, model(view)) for batch in batches for view in _views(batch, flips)]
        points = {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else {})}
        for name, values in points.items():
            if not bool(torch.isfinite(values).all()):
                raise DivergedError(f"the model's numbers are not finite ({name}); lower the learning rate")
        return {name: Reference.fitted(values) for name, values in points.items()}


@torch.inference_mode()
def error_vectors(
    model: Model,
    images: Tensor,
    references: References = MappingProxyType({}),
    *,
    kinds: Collection[str] | None = None,
    fold: Tensor | None = None,
    flips: bool = False,
    tiles: int = 1,
) -> dict[str, Floats32]:
    """Score images.

    Args:
        model: in evaluation mode.
        images: uint8 (N, H, W, C), on the model's device.
        references: what `fit_references` gives; the distances to them are kinds of error as well.
        kinds: the kinds of error to compute, which are the same alone and among others; None is all that there are.
        fold: int64 (N,), which network of a `CrossFittedModel` scores each image; None where no network has seen them.
        flips: score the mirror image too, and give the mean of both.
        tiles: how many of `images` are the tiles of one image.

    Returns:
        float32 (N / tiles,) a kind of error: those of ERROR_KINDS, the family's own, and the distances to `references`;
        higher = more anomalous. Kinds that the model does not have are left out.
    """
    asked = None if kinds is None else of_one_tile(kinds) if tiles > 1 else kinds
    # All scores get their memory at once: small results between the large blocks of each batch would split the heap.
    found: list[str] = []
    table = torch.empty(0)
    size = batch_size(images, wide=model.wide)
    with float32_products("fp32", images.device):
        for place, number in _batches(len(images), size, fold):
            views = [_columns(model, clean, references, asked, number) for clean in _views(images[place], flips)]
            if not found:
                found = list(views[0])
                table = torch.empty((len(found), len(images)), device=images.device)
            for row, kind in enumerate(found):
                table[row, place] = torch.stack([view[kind].float() for view in views]).mean(0)
    return of_images(dict(zip(found, table.cpu().numpy(), strict=True)), tiles, kinds)


def _batches(count: int, size: int, fold: Tensor | None) -> Iterator[tuple[slice | Tensor, int | None]]:
    """Which of the images to score at a time, and the fold that these are in; a GPU is asked for the folds but once."""
    if fold is None:
        for start in range(0, count, size):
            yield slice(start, start + size), None
        return
    order, counts = fold.argsort(stable=True), torch.bincount(fold).tolist()
    for number, rows in enumerate(torch.split(order, counts)):
        for part in torch.split(rows, size) if len(rows) else ():
            yield part, number


def _columns(
    model: Model, clean: Tensor, references: References, kinds: Collection[str] | None, fold: int | None
) -> dict[str, Tensor]:
    def wanted(kind: str) -> bool:
        return kinds is None or kind in kinds

    output: Output = model(clean) if fold is None else model(clean, fold)
    columns = {kind: values for kind, values in output.columns.items() if wanted(kind)}
    if output.reconstruction is not None:
        errors = {kind: error for kind, error in ERROR_KINDS.items() if wanted(kind)}
        columns = {kind: error(clean, output.reconstruction) for kind, error in errors.items()} | columns
    distances = {name: [kind for kind in DISTANCES if wanted(column(name, kind))] for name in references}
    asked = {name: some for name, some in distances.items() if some}
    points = _points(clean, output, asked) if asked else {}
    for name, some in asked.items():
        found = references[name].distances(points[name], some)
        columns |= {column(name, kind): values for kind, values in found.items()}
    return columns


def batch_size(images: Tensor, most: int | None = None, *, wide: bool = False) -> int:
    """How many of these images (N, H, W, C) to score at a time, `most` at most; `wide` is the model's."""
    each = images.shape[1:].numel()
    usual, numbers = _GPU_BATCH, _GPU_NUMBERS
    if images.device.type == "cpu":
        cached, fewest, largest = _CPU_CACHED[wide]
        usual, numbers = min(max(fewest, cached // each), largest), _CPU_NUMBERS
    return max(1, min(usual if most is None else most, numbers // each))


def _views(batch: Tensor, flips: bool) -> Iterator[Tensor]:
    """A batch as a model sees it, and mirrored where `flips` says so."""
    clean = to_input(batch)
    yield clean
    if flips:
        yield clean.flip(3)


def _points(images: Tensor, output: Output, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """float32 (B, d) each: a model's bottlenecks and its residuals, by the names of `References`, these or all."""
    whole = {} if output.latent is None else {"latent": output.latent}
    found = whole | {f"latent.{encoder}": latent for encoder, latent in output.latents.items()}
    if output.reconstruction is not None and (names is None or "residual" in names):
        found["residual"] = residual_grid(images, output.reconstruction)
    return {name: points.flatten(1).float() for name, points in found.items()}
