"""A model: what one pass of it gives, and the three ways in which one is trained."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class Output(NamedTuple):
    """What one pass of a model gives for a batch of B images.

    Attributes:
        reconstruction: float (B, C, H, W) in [-1, 1]; None where the family does not reconstruct.
        latent: float (B, d), the bottleneck, or the features that a classifier's head takes; None where the images do
            not share one space of features.
        columns: the family's own error vectors by name, each float (B,), higher = more anomalous (a classifier's logit,
            a KL divergence).
        latents: the bottlenecks of the single encoders by name, each float (B, d), where a family has several encoders.
    """

    reconstruction: Tensor | None
    latent: Tensor | None
    columns: Mapping[str, Tensor]
    latents: Mapping[str, Tensor] = MappingProxyType({})


class Model(nn.Module, ABC):
    """What scores images. A family's module derives from one of the classes below, which say how it is trained.

    Attributes:
        map_column: the kind of error that is about the mean of `anomaly_map` over an image; None where there is no map.
        wide: whether it has maps of many channels that are as large as the images; a CPU then scores fewer at a time.
    """

    map_column: ClassVar[str | None] = "mae"
    wide: bool = False

    @abstractmethod
    def forward(self, images: Tensor) -> Output:
        """Reconstruct or judge images.

        Args:
            images: float (B, C, H, W) in [-1, 1].
        """

    def anomaly_map(self, images: Tensor) -> Tensor:
        """Where images are anomalous: of a model that reconstructs, the absolute error, the mean of the channels.

        Args:
            images: float (B, C, H, W) in [-1, 1].

        Returns:
            float (B, H, W), at least 0, higher = more anomalous.
        """
        reconstruction = self(images).reconstruction
        error: Tensor = (images - reconstruction).abs().mean(1)
        return error


@runtime_checkable
class Decoder(Protocol):
    """The two halves of a model that reconstructs, by which one can look into its bottleneck.

    `decode(encode(images))` is the reconstruction that `forward` gives in evaluation mode.
    """

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to bottlenecks as the decoder takes them: (B, d), or (B, d, h, w) of maps."""

    def decode(self, latent: Tensor) -> Tensor:
        """Bottlenecks, of the shape that `encode` gives, to images (B, C, H, W)."""


class GradientModel(Model):
    """A model that `training.loop.train` trains by steps of an optimizer."""

    @abstractmethod
    def training_pass(
        self, images: Tensor, latent_noise_scale: float, progress: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """One pass while training.

        Args:
            images: float (B, C, H, W), noise already added.
            latent_noise_scale: standard deviation of the Gaussian noise on the bottleneck.
            progress: float32 (), the share of all steps already done, in [0, 1), for whatever warms up; a tensor, so
                that a captured step follows it. Nothing here may wait for the device, as `float(progress)` would.

        Returns:
            The reconstruction (B, C, H, W), or None, and a scalar that the family adds to the reconstruction loss.
        """

    def settle(self, batches: Iterable[Tensor], count: int) -> None:
        """Note in buffers what scoring needs to know of training images; most families need nothing.

        Called after each epoch, in evaluation mode and without gradients. Nothing here may draw random numbers, so that
        a training that goes on from a checkpoint draws those that it would have.

        Args:
            batches: up to 2,000 training images, evenly spread, float (B, C, H, W) in [-1, 1] each, without noise.
            count: how many images there are in all batches.
        """


class ClosedFormModel(Model):
    """A model whose best weights `training.loop.train` computes in a few passes over the training images."""

    @abstractmethod
    def solve(self, batches: Iterable[Tensor], noise_scale: float, latent_noise_scale: float) -> float:
        """Set the weights to the best ones.

        Args:
            batches: all training images, float (B, C, H, W) in [-1, 1] each, without noise; the same at each pass.
                A batch is valid until the next one.
            noise_scale: standard deviation of the Gaussian noise on the input that the weights shall be best for.
            latent_noise_scale: standard deviation of that on the bottleneck.

        Returns:
            The mean squared error of a pixel over the training images.
        """


class CrossFittedModel(Model):
    """A model of several networks that are trained on the test images too, each on all folds of them but its own.

    `training.cross_fitted.train` trains it. Every held-out and every test image belongs to a fold and is scored by the
    one network that has not seen that fold; an image in no fold is scored by all networks.

    Attributes:
        folds: number of networks, and of folds.
    """

    folds: int

    @abstractmethod
    def forward(self, images: Tensor, fold: int | None = None) -> Output:
        """Judge images.

        Args:
            images: float (B, C, H, W) in [-1, 1].
            fold: the fold that all of them are in, and so the number of the network that shall judge them; None is the
                mean of all networks.
        """

    @abstractmethod
    def training_pass(self, number: int, normal: Tensor, test: Tensor, latent_noise_scale: float) -> Tensor:
        """The loss of network `number`, a scalar, on as many normal as test images, each float (B, C, H, W)."""


def count_parameters(model: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
