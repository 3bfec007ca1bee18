"""Look into a member's bottleneck: scale chosen elements of it, or mix it with noise, and see what is decoded.

The assignment of Hung-yi Lee's ML2022 homework 8 asks for this: an image, its reconstruction, and what becomes of the
reconstruction when elements of the latent are changed. An element is counted in the flattened bottleneck, as the
decoder takes it.

Noise is a draw of what the bottleneck holds of normal images: element by element a Gaussian of their mean and standard
deviation. A share s of it gives (1 - s) z + s noise, so that s = 1 forgets the image and stays in the decoder's range.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ensemble_ad.data.images import Images
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.errors import UsageError
from ensemble_ad.families import Decoder, Model
from ensemble_ad.files.whole import whole_file
from ensemble_ad.members.store import Member
from ensemble_ad.training.load import load_model
from ensemble_ad.training.step import to_input

NORMAL_IMAGES = 256
_BATCH = 64
_CANDIDATES = 64
_TILE, _GAP, _LINE = 160, 12, 18


@dataclass(frozen=True, kw_only=True)
class OpenMember:
    """A member with its model loaded, for looking at what it does to images.

    Attributes:
        key: the member's key.
        model: in evaluation mode.
        preprocess: the crop and size that it was trained on.
        device: where the model is.
    """

    key: str
    model: Model
    preprocess: Preprocess
    device: torch.device

    def seen(self, images: Images) -> Images:
        """What the model sees of uint8 (n, side, side, C): cropped and resized, uint8 (n, h, w, c)."""
        return np.ascontiguousarray(apply(images, self.preprocess))

    @torch.inference_mode()
    def reconstruct(self, images: Images) -> Images | None:
        """Reconstructions, uint8 (n, h, w, c), of uint8 (n, side, side, C); None if the family does not reconstruct."""
        parts = []
        for start in range(0, len(images), _BATCH):
            found = self.model(self._input(images[start : start + _BATCH])).reconstruction
            if found is None:
                return None
            parts.append(_as_images(found))
        return np.concatenate(parts)

    def _input(self, images: Images) -> Tensor:
        return to_input(torch.tensor(self.seen(images)).to(self.device))


def open_member(member: Member, device: torch.device) -> OpenMember:
    """Load a member's model.

    Raises:
        UsageError: if it was imported as scores and has none, or was made by another version's rules.
        StorageError: if its weights are missing or damaged.
    """
    loaded = load_model(member, device)
    if loaded.recipe.preprocess.tiles > 1:
        raise UsageError(f"{member.key} sees tiles of images, one by one; name a member without --tiles")
    return OpenMember(key=member.key, model=loaded.model, preprocess=loaded.recipe.preprocess, device=device)


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """The bottleneck of an open member, and what it holds of normal images.

    Attributes:
        of: the open member.
        mean, deviation: float (1, ...) mean and standard deviation of each element over normal images.
    """

    of: OpenMember
    mean: Tensor
    deviation: Tensor

    @property
    def elements(self) -> int:
        """How many elements the bottleneck has."""
        return self.mean.numel()

    @torch.inference_mode()
    def encode(self, image: Images) -> Tensor:
        """The latent (1, ...) of one image, uint8 (side, side, C)."""
        return self._decoder.encode(self.of._input(image[None]))

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> Images:
        """Images uint8 (n, h, w, c) of latents (n, ...)."""
        return np.concatenate([_as_images(self._decoder.decode(part)) for part in torch.split(latent, _BATCH)])

    def scaled(self, latent: Tensor, factors: Mapping[int, float]) -> Tensor:
        """`latent` (1, ...) with each element that `factors` names multiplied by its factor.

        Raises:
            UsageError: for an element that it does not have.
        """
        flat = latent.flatten(1).clone()
        for element, factor in factors.items():
            if not 0 <= element < self.elements:
                raise UsageError(
                    f"{self.of.key} has the latent elements 0 to {self.elements - 1}, and no {element}; name one of "
                    "those with --scale"
                )
            flat[:, element] *= factor
        return flat.view_as(latent)

    def mixed(self, latent: Tensor, share: float, seed: int = 0) -> Tensor:
        """`latent` (1, ...) with a share of noise, as said at the top of the module.

        One seed gives one draw of noise, whatever the share.

        Raises:
            UsageError: unless 0 <= share <= 1.
        """
        if not 0 <= share <= 1:
            raise UsageError(f"a share of noise lies in 0 to 1, not {share}; pass for example --noise 0.2,0.5,0.8")
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(latent.shape, generator=generator).to(latent.device)
        return (1 - share) * latent + share * (self.mean + self.deviation * drawn)

    def telling(self, latent: Tensor, count: int) -> list[int]:
        """The elements of `latent` (1, ...) whose doubling changes most what is decoded, the most telling first.

        Of a bottleneck of more than 64 elements, the 64 farthest from 0 are tried.
        """
        flat = latent.flatten(1)
        tried = flat[0].abs().argsort(descending=True, stable=True)[:_CANDIDATES]
        doubled = flat.repeat(len(tried), 1)
        doubled[torch.arange(len(tried)), tried] *= 2
        plain = self.decode(latent).astype(np.float64)
        changed = self.decode(doubled.view(len(tried), *latent.shape[1:])).astype(np.float64)
        change = np.square(changed - plain).mean(axis=(1, 2, 3))
        return [int(tried[i]) for i in np.argsort(-change, kind="stable")[:count]]

    @property
    def _decoder(self) -> Decoder:
        assert isinstance(self.of.model, Decoder)
        return self.of.model


@torch.inference_mode()
def bottleneck(opened: OpenMember, normal: Images) -> Bottleneck:
    """The bottleneck of a member, measured on normal images, uint8 (n, side, side, C) of which 256 are enough.

    Raises:
        UsageError: if its family has no decoder.
    """
    model = opened.model
    if not isinstance(model, Decoder):
        raise UsageError(
            f"{opened.key} has no bottleneck that anything is decoded from; name a member of a family that reconstructs"
        )
    found = torch.cat([model.encode(opened._input(normal[i : i + _BATCH])) for i in range(0, len(normal), _BATCH)])
    return Bottleneck(of=opened, mean=found.mean(0, keepdim=True), deviation=found.std(0, unbiased=False, keepdim=True))


def changed_pictures(
    opening: Bottleneck, picture: Images, factors: Mapping[int, float] | None, shares: Sequence[float], seed: int
) -> list[tuple[str, Images]]:
    """What is decoded of one image: as it is, with elements of its latent scaled, and with shares of noise mixed in.

    Args:
        opening: the member's bottleneck.
        picture: uint8 (side, side, C).
        factors: elements that are scaled together, and their factors; None triples the three most telling, one by one.
        shares: shares of noise, each of which gives a picture.
        seed: the noise's seed.

    Returns:
        Pairs of a caption and a picture, uint8 (h, w, c).

    Raises:
        UsageError: for an element that the bottleneck does not have.
    """
    latent = opening.encode(picture)
    changed = [{element: 3.0} for element in opening.telling(latent, 3)] if factors is None else [factors]
    pictures = [("reconstruction", opening.decode(latent)[0])]
    for each in changed:
        caption = "\n".join(f"element {element} x {factor:g}" for element, factor in each.items())
        pictures.append((caption, opening.decode(opening.scaled(latent, each))[0]))
    pictures += [(f"{share:.0%} noise", opening.decode(opening.mixed(latent, share, seed))[0]) for share in shares]
    return pictures


def parse_scale(text: str) -> dict[int, float]:
    """Read `--scale`: `element:factor`, commas between.

    Raises:
        UsageError: for anything else, an element twice, or a factor that is not finite.
    """
    factors: dict[int, float] = {}
    for part in text.split(","):
        element, _, factor = part.strip().partition(":")
        try:
            number, value = int(element), float(factor)
        except ValueError:
            number, value = -1, float("nan")
        if number < 0 or not np.isfinite(value) or number in factors:
            raise UsageError(
                f"--scale must be element:factor with commas between, each element once, as in 0:3,2:5, not {text!r}"
            )
        factors[number] = value
    return factors


def parse_noise(text: str) -> list[float]:
    """Read `--noise`: shares of 0 to 1, commas between.

    Raises:
        UsageError: for anything else.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = [-1.0]
    if not all(0 <= share <= 1 for share in shares):
        raise UsageError(f"--noise must be shares of 0 to 1 with commas between, as in 0.2,0.5,0.8, not {text!r}")
    return shares


def write_sheet(path: Path, tiles: Sequence[tuple[str, Images]]) -> None:
    """Write pictures side by side, each under its caption, as one PNG.

    Args:
        path: the file to write.
        tiles: pairs of a caption and a picture, uint8 (h, w, 1 or 3).

    Raises:
        StorageError: if it cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    captions = [caption.split("\n") for caption, _ in tiles]
    head = max(map(len, captions)) * _LINE
    width = len(tiles) * (_TILE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _TILE + head + 2 * _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (lines, (_, image)) in enumerate(zip(captions, tiles, strict=True)):
        left = _GAP + number * (_TILE + _GAP)
        for row, line in enumerate(lines):
            draw.text((left, _GAP / 2 + row * _LINE), line, fill="black", font=font)
        tile = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("RGB")
        scale = _TILE / max(tile.size)
        size = (round(tile.width * scale), round(tile.height * scale))
        sheet.paste(tile.resize(size, Image.Resampling.NEAREST), (left, head + _GAP))
    with whole_file(path, named_by_user=True) as part:
        sheet.save(part, format="PNG", optimize=True)


def _as_images(pictures: Tensor) -> npt.NDArray[np.uint8]:
    """Float (n, C, h, w) in [-1, 1] to uint8 (n, h, w, C)."""
    grey_levels = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return grey_levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
