"""What a family is: a name, hyperparameters that build its models, a search space and the published presets."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.data.sizes import SIDES
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.ranges import SIZES, USUAL_RANGES, Sampler, SearchRanges

USUAL_START: Mapping[str, Any] = {"crop": 0.75, "size": 32, "learning_rate": 1e-3, "batch_size": 128, "loss": "mse"}
"""What the first trials of most families have besides their architecture; see `Family.start`."""
NOISELESS_MSE: Mapping[str, Any] = {"loss": "mse", "noise_scale": 0.0, "latent_noise_scale": 0.0}
"""Training settings that most published systems share; see `Preset.training`."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published system, as published.

    Attributes:
        architecture: the family's hyperparameters.
        source: who published it.
        crop: fraction of the side that the crop keeps, (height, width).
        size: what the crop is resized to, (height, width); None keeps the images' own.
        via: side that the image is resized to before the crop; None crops it as it is.
        training: what it sets of `training.settings.TrainSettings`.
    """

    architecture: Architecture
    source: str
    crop: tuple[float, float] = (1.0, 1.0)
    size: tuple[int, int] | None = None
    via: int | None = None
    training: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of model.

    Attributes:
        name: what people type.
        summary: what it is, in one line.
        suits: what it is made for, in one line.
        architecture: the dataclass of its hyperparameters.
        suggest: the search space: from a trial and the widths to try to an architecture.
        start: parameters of the trials that a study begins with; what they leave out is drawn.
        presets: the published systems by name.
        side_multiple: number that an image's height and width must be multiples of.
        widths: the widths that a study tries with a GPU, ascending.
        cpu_width: the largest width that a study without a GPU tries unless it is told otherwise.
        ranges: what a study searches besides the architecture.
        own_ranges: the same of single architectures, where it differs from one to another.
        reconstructs: whether the models reconstruct; those that do not have no loss to choose and no error kinds.
        transductive: whether the models are trained on the unlabelled test images too.
    """

    name: str
    summary: str
    suits: str
    architecture: type[Architecture]
    suggest: Callable[[Sampler, Sequence[int]], Architecture]
    start: tuple[Mapping[str, Any], ...]
    presets: Mapping[str, Preset]
    side_multiple: int
    widths: tuple[int, ...]
    cpu_width: int
    ranges: SearchRanges = USUAL_RANGES
    own_ranges: Callable[[Architecture], SearchRanges] | None = None
    reconstructs: bool = True
    transductive: bool = False

    def ranges_of(self, architecture: Architecture) -> SearchRanges:
        """What a study searches besides that architecture."""
        return self.ranges if self.own_ranges is None else self.own_ranges(architecture)

    def widths_up_to(self, most: int) -> tuple[int, ...]:
        """The widths to try, none above `most`.

        Raises:
            UsageError: if all of them are above.
        """
        widths = tuple(width for width in self.widths if width <= most)
        if not widths:
            raise UsageError(f"--max-width must be {self.widths[0]} or more for {self.name}, not {most}")
        return widths

    def sizes_up_to(self, side: int) -> tuple[int, ...]:
        """The sides that crops of images of that side may be resized to, ascending: the usual ones below it, and it.

        Raises:
            UsageError: if the family takes none of them.
        """
        sizes = tuple(
            size
            for size in (*(size for size in SIZES if size < side), side)
            if size >= self.least_side and size % self.side_multiple == 0
        )
        if not sizes:
            self.check_shape((1, side, side))
        return sizes

    def check_shape(self, shape: ChannelsFirst) -> None:
        """Check that the family takes images of that height and width.

        Raises:
            UsageError: if it does not; the message lists the sides that it takes.
        """
        if any(side % self.side_multiple for side in shape[1:]):
            nearest = round(shape[1] / self.side_multiple) * self.side_multiple
            raise UsageError(
                f"{self.name} takes images whose sides are multiples of {self.side_multiple} "
                f"({self.least_side}, {self.least_side + self.side_multiple}, ... up to {SIDES[1]}), "
                f"not {shape[1]}x{shape[2]}; resize with --size {max(self.least_side, nearest)}"
            )

    @property
    def least_side(self) -> int:
        """The smallest side that this family takes, of those that images may have."""
        return math.ceil(SIDES[0] / self.side_multiple) * self.side_multiple
