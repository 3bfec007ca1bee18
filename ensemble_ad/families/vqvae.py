"""Vector-quantised variational autoencoder, VQ-VAE (van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937).

The encoder makes a vector of each place of a small map; the decoder sees the nearest of the codebook's codes instead.
The gradient passes the choice of the code as if it were not there (straight through). The codes are moving averages of
the vectors that chose them (the paper's appendix A.1), so that of its loss the reconstruction and the commitment, the
squared distance of vectors to their codes, are left. Encoder and decoder are the paper's: strided convolutions of
kernel 4, then residual blocks of a 3x3 and a 1x1 convolution.

An image's own kinds of error, besides those of its reconstruction: the mean squared distance of its vectors from their
codes (`code_distance`), and the mean of -log p(code | place) (`code_surprise`), p by how often training images have
that code there. The paper learns a prior of the codes by a PixelCNN.

What is ours:

- a code that hardly any vector chooses is put on a random vector of the batch (Dhariwal et al. 2020, "Jukebox",
  arXiv:2005.00341, section 3.2, by a threshold of ours), since on small data most codes are never used otherwise;
- a Tanh after the decoder;
- the reconstruction loss is a mean over pixels, the commitment a mean over the vectors' numbers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import NOISELESS_MSE, USUAL_START, Family, Preset
from ensemble_ad.families.convolution import doubling, halving
from ensemble_ad.families.latent import flat_latent
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler

_MOST_STAGES = 3
# A code that is chosen less often than this share of the mean is put elsewhere.
_LEAST_USE = 0.1
# Distances that are held at a time: 16 MB, whatever the batch, the map and the codebook.
_BLOCK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class VqvaeArchitecture(Architecture):
    """Hyperparameters of encoder, codebook and decoder.

    Attributes:
        width: channels of the largest feature maps, halved for each convolution that is nearer to the image.
        stages: number of strided convolutions; each halves the sides.
        residual: residual blocks on either side of the codebook.
        codes: number of codes.
        code_length: numbers of a code.
        commitment: weight of the squared distance between vectors and codes; the paper has 0.25.
        decay: what the codes' moving averages keep in a step; the paper has 0.99.
    """

    width: int = 32
    stages: int = 2
    residual: int = 1
    codes: int = 256
    code_length: int = 16
    commitment: float = 0.25
    decay: float = 0.99

    def __post_init__(self) -> None:
        if not 1 <= self.stages <= _MOST_STAGES or self.width < 2 ** (self.stages - 1):
            raise UsageError(
                f"a vqvae has 1 to {_MOST_STAGES} stages, and a width that can be halved for each but the last, not "
                f"{self.stages} and {self.width}"
            )
        if self.residual < 0 or min(self.codes, self.code_length) < 1:
            raise UsageError(
                "a vqvae has 0 residual blocks or more, and 1 code or more of length 1 or more, not "
                f"{self.residual}, {self.codes} and {self.code_length}"
            )
        if self.commitment < 0 or not 0 <= self.decay < 1:
            raise UsageError(
                f"commitment must be 0 or more and decay 0 or more and below 1, not {self.commitment} and {self.decay}"
            )

    def build(self, shape: ChannelsFirst) -> "VqvaeAutoencoder":
        return VqvaeAutoencoder(shape, self)


class Codebook(nn.Module):
    """Codes, each the moving average of the vectors that chose it.

    Attributes:
        codes: float32 (k, d).
        uses: float32 (k,), moving average of how many vectors of a step chose each.
        sums: float32 (k, d), moving average of the sum of those vectors.
    """

    codes: Tensor
    uses: Tensor
    sums: Tensor

    def __init__(self, count: int, length: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codes", torch.randn(count, length))
        self.register_buffer("uses", torch.zeros(count))  # so that the first step puts every code on a vector
        self.register_buffer("sums", torch.zeros(count, length))

    def nearest(self, vectors: Tensor) -> Tensor:
        """int64 (n,), the code that lies nearest to each of float (n, d)."""
        lengths = self.codes.square().sum(1)
        return torch.cat([(lengths - 2 * part @ self.codes.T).argmin(1) for part in self._parts(vectors)])

    @torch.no_grad()
    def learn(self, vectors: Tensor, chosen: Tensor) -> None:
        """Move the codes to float (n, d) vectors that chose int64 (n,) of them; nothing waits for the device."""
        numbers = torch.arange(len(self.codes), device=vectors.device)
        uses, sums = torch.zeros_like(self.uses), torch.zeros_like(self.sums)
        for part, codes in zip(self._parts(vectors), self._parts(chosen), strict=True):
            # A product, since sums over an index differ from run to run on CUDA.
            one_hot = (codes[:, None] == numbers).to(part.dtype)
            uses += one_hot.sum(0)
            sums += one_hot.T @ part
        self.uses.lerp_(uses, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        usual = len(vectors) / len(self.codes)
        idle = self.uses < _LEAST_USE * usual
        drawn = vectors[torch.randint(len(vectors), (len(self.codes),), device=vectors.device)]
        self.uses.copy_(torch.where(idle, usual, self.uses))
        self.sums.copy_(torch.where(idle[:, None], usual * drawn, self.sums))
        self.codes.copy_(self.sums / self.uses[:, None])

    def _parts(self, rows: Tensor) -> Iterator[Tensor]:
        return iter(torch.split(rows, max(1, _BLOCK // len(self.codes))))


class VqvaeAutoencoder(GradientModel):
    """Encoder, codebook and decoder.

    Attributes:
        counts: float32 (places, codes), how many training images have a code at a place of the map.
    """

    counts: Tensor

    def __init__(self, shape: ChannelsFirst, architecture: VqvaeArchitecture) -> None:
        super().__init__()
        self.commitment = architecture.commitment
        width, stages = architecture.width, architecture.stages
        channels = (shape[0], *(width // 2**nearer for nearer in reversed(range(stages))))
        self.encoder = nn.Sequential(
            halving(channels),
            nn.Conv2d(width, width, 3, 1, 1),
            *(_Residual(width) for _ in range(architecture.residual)),
            nn.ReLU(),
            nn.Conv2d(width, architecture.code_length, 1),
        )
        self.codebook = Codebook(architecture.codes, architecture.code_length, architecture.decay)
        self.decoder = nn.Sequential(
            nn.Conv2d(architecture.code_length, width, 3, 1, 1),
            *(_Residual(width) for _ in range(architecture.residual)),
            nn.ReLU(),
            doubling(channels[::-1]),
        )
        places = (shape[1] >> stages) * (shape[2] >> stages)
        self.register_buffer("counts", torch.zeros(places, architecture.codes))

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to maps (B, d, h, w) of vectors, before each becomes its code."""
        maps: Tensor = self.encoder(images)
        return maps.float()

    def decode(self, latent: Tensor) -> Tensor:
        """Maps (B, d, h, w) of vectors to images (B, C, H, W), by way of their codes."""
        images: Tensor = self.decoder(self._coded(latent)[0])
        return images

    def forward(self, images: Tensor) -> Output:
        maps = self.encode(images)
        coded, chosen = self._coded(maps)
        columns = {
            "code_distance": (maps - coded).square().sum(1).mean((1, 2)),
            "code_surprise": self._surprise(chosen.reshape(len(images), -1)),
        }
        return Output(self.decoder(coded), flat_latent(maps), columns)

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.encode(images)
        coded, chosen = self._coded(maps)
        self.codebook.learn(_vectors(maps.detach()), chosen)
        straight = maps + (coded - maps).detach()
        distance = functional.mse_loss(maps, coded)
        return self.decoder(add_noise(straight, latent_noise_scale)), self.commitment * distance

    def settle(self, batches: Iterable[Tensor], count: int) -> None:
        places, codes = self.counts.shape
        self.counts.zero_()
        for images in batches:
            chosen = self._coded(self.encode(images))[1].reshape(-1, places)
            first = torch.arange(0, places * codes, codes, device=chosen.device)
            index = (first + chosen).flatten()
            # Whole numbers, whose sum is the same in any order; `bincount` would wait for the device.
            self.counts.view(-1).index_add_(0, index, torch.ones_like(index, dtype=self.counts.dtype))

    def _coded(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest codes of maps (B, d, h, w), a map like it without a gradient; and which they are, (B h w,)."""
        # In float32, since a code is chosen by small differences of large numbers.
        with torch.autocast(maps.device.type, enabled=False), torch.no_grad():
            vectors = _vectors(maps)
            chosen = self.codebook.nearest(vectors)
            coded = self.codebook.codes[chosen].reshape(len(maps), *maps.shape[2:], -1).permute(0, 3, 1, 2)
        return coded, chosen

    def _surprise(self, chosen: Tensor) -> Tensor:
        """Mean over an image's places of -log p(code | place), (B,), of int64 (B, places), by Laplace's rule."""
        places, codes = self.counts.shape
        seen = self.counts[torch.arange(places, device=chosen.device), chosen]
        total = self.counts[0].sum()
        return ((total + codes).log() - (seen + 1).log()).mean(1)


class _Residual(nn.Module):
    """Adds to a map what a 3x3 and a 1x1 convolution make of it, by a fourth of its channels as in Sonnet's example."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        between = max(1, channels // 4)
        self.residual = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, between, 3, 1, 1), nn.ReLU(), nn.Conv2d(between, channels, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = maps + self.residual(maps)
        return added


def _vectors(maps: Tensor) -> Tensor:
    """Maps (B, d, h, w) as (B h w, d)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def suggest(trial: Sampler, widths: Sequence[int]) -> VqvaeArchitecture:
    """The network's width and depth, the codebook, and how it is learnt."""
    return VqvaeArchitecture(
        width=trial.suggest_categorical("width", widths),
        stages=trial.suggest_int("stages", 2, _MOST_STAGES),
        residual=trial.suggest_int("residual", 0, 2),
        codes=trial.suggest_int("codes", 16, 512, log=True),
        code_length=trial.suggest_int("code_length", 2, 64, log=True),
        commitment=trial.suggest_float("commitment", 0.05, 2.0, log=True),
        decay=trial.suggest_float("decay", 0.9, 0.99),
    )


_TRAINING = {**NOISELESS_MSE, "epochs": 40, "batch_size": 32, "learning_rate": 3e-4}

FAMILY = Family(
    name="vqvae",
    summary="vector-quantised variational autoencoder (VQ-VAE): the decoder sees the nearest of learnt codes",
    suits="normal images that are made of few parts",
    architecture=VqvaeArchitecture,
    suggest=suggest,
    start=(
        {
            "width": 32,
            "stages": 3,
            "residual": 1,
            "codes": 128,
            "code_length": 16,
            "commitment": 0.25,
            "decay": 0.99,
            **USUAL_START,
        },
    ),
    presets={
        "vqvae-sonnet": Preset(
            architecture=VqvaeArchitecture(width=128, residual=2, codes=512, code_length=64),
            source=(
                "van den Oord et al. 2017 as in DeepMind's example for CIFAR-10 (Sonnet, vqvae_example); 40 passes "
                "over the contest's images are 175,000 steps, the paper's 250,000 and the example's 10,000"
            ),
            training=_TRAINING,
        ),
        "vqvae-small": Preset(
            architecture=VqvaeArchitecture(stages=3, codes=128),
            source="ours: a fourth of the channels, a code for 8x8 pixels instead of 4x4, half the size, for a CPU",
            crop=(0.8125, 0.8125),
            size=(32, 32),
            training={**_TRAINING, "epochs": 12, "batch_size": 128, "learning_rate": 2e-3},
        ),
    },
    side_multiple=2**_MOST_STAGES,
    widths=(16, 32, 64, 128),
    cpu_width=64,
)
