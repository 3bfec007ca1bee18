"""Where an image is hidden in turn, so that every pixel is predicted from pixels that the model sees; and how far off.

Blocks of one size lie on a grid over the image and overlap. In one pass a mask hides one of them, or several that do
not touch, or every second one like the squares of a checkerboard. Over all masks every block is hidden once.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ensemble_ad.errors import UsageError

Masks = Literal["one", "checkerboard", "several"]
MASKS: tuple[Masks, ...] = ("one", "checkerboard", "several")
_WORST = 3
# Of SSIM's constants (Wang et al. 2004), smaller: it only decides about blocks that are flat.
_FLAT = 1e-4
_TINY = 1e-14
_MOST_BYTES = 1 << 29


@dataclass(frozen=True)
class HiddenBlocks:
    """A grid of blocks over images (H, W), and the masks that hide them; numpy's, so that no device is asked for it.

    Attributes:
        pixels: int64 (n, p), the pixels of each of n blocks, counted row by row.
        masks: the blocks that each mask hides, every block in one mask.
    """

    pixels: NDArray[np.int64]
    masks: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, height: int, width: int, block: float, stride: float, kind: Masks) -> "HiddenBlocks":
        """Lay the grid.

        Args:
            height: of the images.
            width: of the images.
            block: sides of a block as shares of the image's, in (0, 0.5].
            stride: distance of neighbours as a share of a block's side, in (0, 1].
            kind: what one mask hides.

        Raises:
            UsageError: for a grid whose tables take more than 512 MB.
        """
        sides = [max(1, round(block * side)) for side in (height, width)]
        starts = [_starts(side, size, stride) for side, size in zip((height, width), sides, strict=True)]
        apart = [_steps_apart(each, size) for each, size in zip(starts, sides, strict=True)]
        places = list(itertools.product(*starts))
        masks: dict[object, list[int]] = {}
        for number in range(len(places)):
            masks.setdefault(_mask_of(kind, divmod(number, len(starts[1])), apart), []).append(number)
        size = max(8 * len(places) * math.prod(sides), 4 * len(masks) * height * width)
        if size > _MOST_BYTES:
            raise UsageError(
                f"a grid of {len(places)} blocks makes {size} bytes of one image, and {_MOST_BYTES} are allowed; "
                "take a larger stride"
            )
        grid = np.arange(height * width).reshape(height, width)
        pixels = [grid[top : top + sides[0], left : left + sides[1]].ravel() for top, left in places]
        return cls(np.stack(pixels), tuple(map(tuple, masks.values())))

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return len(self.pixels)

    def hidden(self, height: int, width: int) -> NDArray[np.float32]:
        """float32 (m, 1, H, W), 1 where a mask hides a pixel."""
        flat = np.zeros((len(self.masks), height * width), dtype=np.float32)
        for row, blocks in zip(flat, self.masks, strict=True):
            row[self.pixels[list(blocks)].ravel()] = 1
        return flat.reshape(-1, 1, height, width)


def _starts(side: int, size: int, stride: float) -> list[int]:
    """Where blocks begin along a side, evenly from its beginning to its end."""
    steps = math.ceil((side - size) / max(1.0, stride * size))
    return [round(step * (side - size) / max(1, steps)) for step in range(steps + 1)]


def _steps_apart(starts: list[int], size: int) -> int:
    """How many places two blocks must be apart along a side so that they never overlap."""
    for apart in range(1, len(starts)):
        if all(later - first >= size for first, later in zip(starts, starts[apart:], strict=False)):
            return apart
    return len(starts)


def _mask_of(kind: Masks, place: tuple[int, int], apart: list[int]) -> object:
    """What blocks of one mask have in common."""
    if kind == "one":
        return place
    phase = (place[0] % apart[0], place[1] % apart[1])
    tile = (place[0] // apart[0], place[1] // apart[1])
    if kind == "checkerboard":
        return *phase, (tile[0] + tile[1]) % 2
    return *phase, tile[0] % 2, tile[1] % 2


class BlockErrors(NamedTuple):
    """How far predictions of blocks are off, each (B, k): mean squares, and 1 minus the structural correlation."""

    square: Tensor
    structure: Tensor


def block_errors(seen: Tensor, predicted: Tensor) -> BlockErrors:
    """Compare blocks.

    The structural correlation is that of the pixels about their block's mean, channel by channel, the third factor of
    SSIM (Wang et al. 2004, IEEE Trans. Image Processing 13(4)): brightness and contrast of the prediction, which the
    mean square sees, do not count.

    Args:
        seen: float (B, C, k, p), k blocks of p pixels.
        predicted: the same.
    """
    square = (seen - predicted).square().mean((1, 3))
    one, other = (each - each.mean(3, keepdim=True) for each in (seen, predicted))
    products = (one * other).mean((1, 3))
    deviations = (one.square().mean((1, 3)) * other.square().mean((1, 3)) + _TINY).sqrt()
    return BlockErrors(square, 1 - (products + _FLAT) / (deviations + _FLAT))


def columns(errors: BlockErrors, usual: BlockErrors) -> dict[str, Tensor]:
    """An image's error vectors, each (B,), from its blocks' errors.

    Args:
        errors: (B, n) of all blocks.
        usual: (n,), the blocks' errors on normal images; some blocks are harder to predict than others.
    """
    found = {}
    for name, error, usually in zip(("block_square", "block_structure"), errors, usual, strict=True):
        ratio = error / usually.clamp_min(_TINY)
        found[name] = ratio.mean(1)
        # A correlation may be above 1 by rounding.
        found[f"{name}_log"] = (ratio.clamp_min(0.0) + _TINY).log().mean(1)
        found[f"{name}_worst"] = ratio.topk(min(_WORST, ratio.shape[1]), dim=1).values.mean(1)
    return found
