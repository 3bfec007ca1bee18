"""Vectors of training patches, kept to find each new patch's nearest; what is kept is bounded."""

from typing import Literal

import torch
from torch import Tensor, nn

Neighbours = Literal["anywhere", "place"]
NEIGHBOURS: tuple[Neighbours, ...] = ("anywhere", "place")
_MOST_VECTORS: dict[Neighbours, int] = {"anywhere": 2048, "place": 32_768}
# Distances that are held at a time: 16 MB.
_BLOCK = 1 << 22


class Bank(nn.Module):
    """Vectors of training patches, among which a patch's nearest is sought.

    Attributes:
        vectors: float32 (g, m, d): m for each of g places, or m for all of them together where g is 1.
    """

    vectors: Tensor

    def __init__(self, places: int, features: int, neighbours: Neighbours) -> None:
        super().__init__()
        self.places = places
        groups = places if neighbours == "place" else 1
        size = max(1, _MOST_VECTORS[neighbours] // groups)
        self.register_buffer("vectors", torch.zeros(groups, size, features))

    def rows(self, count: int) -> Tensor:
        """Which vectors of `count` images are kept, int64 (g m,) ascending, on the CPU; i of image j is j * places + i.

        They are spread evenly over the images, or drawn, always alike, from all places of all images. Where there are
        too few, some are kept twice.
        """
        groups, size, _ = self.vectors.shape
        if groups == 1:
            drawn = torch.randperm(count * self.places, generator=torch.Generator().manual_seed(0))
            return drawn.repeat(-(-size // len(drawn)))[:size].sort().values
        images = torch.linspace(0, count - 1, size, dtype=torch.float64).long()
        return (images[:, None] * self.places + torch.arange(self.places)).flatten()

    def fill(self, vectors: Tensor) -> None:
        """Take float (g m, d), the vectors that `rows` asked for."""
        groups, size, features = self.vectors.shape
        self.vectors.copy_(vectors.reshape(size, groups, features).transpose(0, 1))

    def distances(self, vectors: Tensor) -> Tensor:
        """How far each of (B, d, h, w) vectors lies from the nearest, (B, h, w)."""
        groups, size, features = self.vectors.shape
        flat = vectors.permute(2, 3, 0, 1).reshape(groups, -1, features)
        lengths = self.vectors.square().sum(2)[:, None]
        found = []
        for part in torch.split(flat, max(1, _BLOCK // (groups * size)), dim=1):
            nearest = (lengths - 2 * part @ self.vectors.transpose(1, 2)).argmin(2)
            # Once more, since the difference of squares above is coarse where a distance is short.
            neighbour = self.vectors.gather(1, nearest[..., None].expand(-1, -1, features))
            found.append((part - neighbour).norm(dim=2))
        return torch.cat(found, 1).reshape(*vectors.shape[2:], len(vectors)).permute(2, 0, 1)
