"""Scores of new images by a saved blend: its members' models, its frozen normaliser and weights."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ensemble_ad.blend import Blend, alarm, saved
from ensemble_ad.blend.columns import main_columns
from ensemble_ad.blend.held_out import held_out_scores
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.blend.shown import as_html, in_a_line, with_error
from ensemble_ad.data.conversion import Conversion
from ensemble_ad.data.images import Images, ImageShape
from ensemble_ad.data.seen import Seen, Strange
from ensemble_ad.data.stream import BLOCK, conform
from ensemble_ad.detect.explain import Guide, blended_shares, surprise
from ensemble_ad.detect.given import Given, given_images
from ensemble_ad.detect.networks import Network, counting_columns, error_columns, guides, networks_of, snapped
from ensemble_ad.detect.overlays import MapFolder
from ensemble_ad.errors import DataError, UsageError, in_python, speaks_python
from ensemble_ad.layout import at_home
from ensemble_ad.members.column import Column
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import Member, load_member
from ensemble_ad.statistics import Estimate
from ensemble_ad.statistics.arrays import Floats32, Floats64
from ensemble_ad.training.device import choose_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALARM_RATE = 0.01


@dataclass(frozen=True, kw_only=True, repr=False)
class BlendScorer:
    """A saved blend with its models loaded.

    An image's score depends on that image alone: the ranks are those among the images that the blend was made of. An
    image beyond all of them gets the highest rank, so two extreme images may tie. The last digits of a float32 error
    depend on the batch and the machine, so one within 2e-5 of an error that the blend was made of is taken for that
    one; else an image would rank now above and now below itself. So an image gets one score alone and in any batch, and
    a test image the one that it has in the blend, except from a member that was trained on it (`contrast`): then the
    network that had not seen the image scored it, and here the mean of all networks does.

    Attributes:
        blend: the saved blend.
        rule: the blend's frozen rule.
        shape: (side, side, channels) of the images that it takes.
        seen: what the training images look like.
        conversion: what makes images of pictures; None if those have to be of `shape` as they are.
    """

    blend: SavedBlend
    rule: Blend
    shape: ImageShape
    seen: Seen
    _networks: tuple[Network, ...]
    _members: tuple[Member, ...]
    _studies: Path
    _device: torch.device
    conversion: Conversion | None = None

    def __repr__(self) -> str:
        info, size = self.blend.info, "x".join(map(str, self.shape))
        return (
            f"BlendScorer({self.blend.name!r}, {in_a_line(info.method, self.blend.weights, info.separation)}; "
            f"images {size})"
        )

    def _repr_html_(self) -> str:
        info, members = self.blend.info, {member.key: member for member in self._members}
        facts = {"Blend": f"{self.blend.name}, {info.method}, images {'x'.join(map(str, self.shape))}"}
        if info.separation is not None:
            facts["Separation"] = with_error(info.separation)
        facts["Estimate"] = in_python(self.blend.estimate_in_words())
        rows = []
        for name, weight in sorted(self.blend.weights.items(), key=lambda pair: -pair[1]):
            judged = members[Column.of(name).key].info.separation
            rows.append((name, f"{weight:.3f}", "" if judged is None else f"{judged.value:.3f}"))
        return as_html(facts, ("member's error", "weight", "member's separation"), rows)

    @speaks_python
    def plot(self, images: Given, alarm_rate: float | None = None) -> "Figure":
        """Score images, and draw how they lie beside the held-out normal ones, with the most anomalous of them.

        No window is opened: a notebook shows the figure, `savefig` writes it.

        Args:
            images: as for `score`, at least one.
            alarm_rate: as for `threshold`.

        Raises:
            DataError: as `score`, and for no images.
            UsageError: as `threshold`, and if matplotlib is not installed.
        """
        from ensemble_ad.detect.plots import scored_images

        array = self._checked(images)
        if not len(array):
            raise DataError("a plot needs at least one image, not 0")
        return scored_images(array, self.score(array), self.reference, self.threshold(alarm_rate))

    @speaks_python
    def score(self, images: Given) -> Floats64:
        """Anomaly scores of images.

        Warns of images that are unlike all training images, whose scores mean little; see `unlike`.

        Args:
            images: uint8 (n, side, side) or (n, side, side, C) of the size that the blend was trained on; or, where
                it was trained on pictures that became square, (n, height, width[, C]) as deep as those were, or a list
                of such pictures of any size. A list may hold paths of pictures too. Grey ones are taken for colour, and
                colour ones for grey where their channels are equal.

        Returns:
            float64 (n,), higher = more anomalous.

        Raises:
            DataError: for another dtype, other axes, another size or colours that the blend does not know.
        """
        array = self._checked(images)
        strange = Strange()
        strange.add(map(str, range(len(array))), self._unlike(array))
        if strange.count:
            warnings.warn(strange.in_words(), stacklevel=3)
        return self._score(array)

    @speaks_python
    def unlike(self, images: Given) -> list[str | None]:
        """By what each image is unlike all training images, in a word of `data.seen.MEANINGS`; None if by nothing.

        Args:
            images: as for `score`.

        Raises:
            DataError: as `score`.
        """
        return self._unlike(self._checked(images))

    def score_and_compare(self, images: Given) -> tuple[Floats64, list[str | None]]:
        """What `score` gives, without its warning, and what `unlike` gives."""
        array = self._checked(images)
        return self._score(array), self._unlike(array)

    def score_beside_members(self, images: Given) -> tuple[Floats64, dict[str, Floats64]]:
        """What `score` gives, without its warning, and what the members that count give, by their keys.

        A member's scores are those by its main kind of error, as the blend has it: float64 (n,). A member whose main
        kind of error has no weight is left out.

        Args:
            images: as for `score`.

        Raises:
            DataError: as `score`.
        """
        array = self._checked(images)
        rows = np.concatenate([self.vectors(conform(block, self.shape, "an image")) for block in _blocks(array)])
        counting, names = counting_columns(self.rule), list(self.rule.names)
        places = [
            (m.key, names.index(name))
            for m, name in zip(self._members, main_columns(self._members, names), strict=True)
        ]
        scores = self.rule.score(snapped(rows, self.rule))
        return scores, {key: rows[:, at].astype(np.float64) for key, at in places if at in counting}

    @speaks_python
    def explain(self, images: Given) -> Floats32:
        """Where images are anomalous: how surprising each is, spread over its pixels by the members' errors.

        See `detect.explain`.

        Args:
            images: as for `score`.

        Returns:
            float32 (n, side, side), at least 0, higher = more anomalous. The mean of an image's map is -ln p, p its
            `p_values`: about 1 for normal images, log(held-out images + 1) at most.

        Raises:
            DataError: as `score`.
            UsageError: if no member says where; see `Model.map_column`.
        """
        array, guides = self._checked(images), list(self._guides.values())
        found = [np.empty((0, *self.shape[:2]), dtype=np.float32)]
        for block in _blocks(array):
            high = surprise(self.p_values_of(self._of_block(block)))
            shares = blended_shares(guides, conform(block, self.shape, "an image"), self._device)
            found.append(high[:, None, None] * shares)
        return np.concatenate(found)

    @property
    def explaining(self) -> tuple[str, ...]:
        """The keys of the members that `explain` adds up.

        Raises:
            UsageError: as `explain`.
        """
        return tuple(self._guides)

    def map_folder(self, folder: Path, *, raw: bool = False) -> MapFolder:
        """A folder that gets maps, each of its picture's own height and width; see `detect.overlays`."""
        return MapFolder(folder=folder, fit=None if self.conversion is None else self.conversion.fit, raw=raw)

    @cached_property
    def _guides(self) -> dict[str, Guide]:
        found = guides(self._networks, self.rule.weights)
        if not found:
            families = ", ".join(sorted({member.family for member in self._members}))
            raise UsageError(
                f"no member of {self.blend.name} says where in an image ({families}); blend one that reconstructs, "
                "such as pca or inpaint"
            )
        return found

    def _checked(self, images: Given) -> Images:
        array = given_images(images, self.shape, self.conversion)
        axes = array.shape[1:]
        if array.dtype != np.uint8 or not (len(axes) == 2 or (len(axes) == 3 and axes[2] in (1, 3))) or axes[1] <= 3:
            raise DataError(
                f"images must be uint8 of the axes (n, side, side) or (n, side, side, 1 or 3), not {array.dtype} of "
                f"shape {array.shape}; of one image pass image[None]"
            )
        return array

    def _score(self, images: Images) -> Floats64:
        if not len(images):
            return np.empty(0)
        return np.concatenate([self._of_block(block) for block in _blocks(images)])

    def _unlike(self, images: Images) -> list[str | None]:
        found: list[str | None] = []
        for block in _blocks(images):
            found += self.seen.unlike(conform(block, self.shape, "an image"))
        return found

    @cached_property
    def reference(self) -> Floats64:
        """float64 (n,) cross-fitted scores of the held-out normal images, sorted; see `blend.alarm`."""
        return held_out_scores(self._studies, self.blend, self.rule.names, self._members)

    @property
    def usual_rate(self) -> float:
        """The alarm rate where none is given: 0.01, or the lowest that so few held-out normal images carry."""
        return max(ALARM_RATE, alarm.lowest_rate(len(self.reference)))

    @speaks_python
    def threshold(self, alarm_rate: float | None = None) -> float:
        """The score above which an image is an alarm; see `blend.alarm.threshold`.

        Args:
            alarm_rate: the share of new normal images that may exceed it; None is 0.01, or where so few images are held
                out that they carry no such rate, the lowest that they carry, with a warning.

        Raises:
            UsageError: for a rate outside (0, 1), or too low for the number of held-out images.
        """
        if alarm_rate is None and self.usual_rate > ALARM_RATE:
            warnings.warn(self.about_usual_rate(), stacklevel=3)
        return alarm.threshold(self.reference, self.usual_rate if alarm_rate is None else alarm_rate)

    @speaks_python
    def false_alarm_rate(self, alarm_rate: float | None = None) -> Estimate:
        """The share of new normal images above `threshold`, with its 95% interval; see `blend.alarm.false_alarm_rate`.

        Args:
            alarm_rate: as for `threshold`.

        Raises:
            UsageError: as `threshold`.
        """
        rate = self.usual_rate if alarm_rate is None else alarm_rate
        alarm.threshold(self.reference, rate)  # refuses what is no rate
        return alarm.false_alarm_rate(len(self.reference), rate)

    def p_values(self, images: Given) -> Floats64:
        """Conformal p values of images: how seldom a normal image scores as high; see `blend.alarm.p_values`.

        Args:
            images: as for `score`.

        Returns:
            float64 (n,) in (0, 1], lower = more anomalous; 1 / (held-out images + 1) at least.

        Raises:
            DataError: as `score`.
        """
        return self.p_values_of(self.score(images))

    def p_values_of(self, scores: Floats64) -> Floats64:
        """As `p_values`, of images that have these scores."""
        return alarm.p_values(self.reference, scores)

    def about_usual_rate(self) -> str:
        """Why the usual alarm rate is not 0.01, where it is not."""
        return (
            f"{len(self.reference)} held-out normal images carry no alarm rate of {ALARM_RATE:g}; taken is the lowest "
            f"that they carry, {self.usual_rate:.3g}"
        )

    def _of_block(self, block: Images) -> Floats64:
        return self.rule.score(snapped(self.vectors(conform(block, self.shape, "an image")), self.rule))

    def vectors(self, images: Images) -> Floats32:
        """Error vectors of uint8 `(n, *shape)`, float32 (n, m) in the order of `rule.names`.

        A column that the blend gives no weight is left at 0.
        """
        return error_columns(self._networks, images, self.rule.names, self._device)


@speaks_python
def load_blend(name: str | None = None, studies: str | Path = "studies", *, device: str = "auto") -> BlendScorer:
    """Load a saved blend to score new images.

    Args:
        name: the blend's name; None is the blend that was made last.
        studies: the studies' folder.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.

    Raises:
        UsageError: if there is no such blend, one of its members was imported as scores or made by another version's
            rules, or there is no such device.
        StorageError: if the blend or a member is missing or damaged.
    """
    studies = at_home(studies)
    blend = saved.latest_blend(studies) if name is None else saved.load_blend(studies, name)
    rule = blend.rule()
    place = choose_device(device)
    keys = dict.fromkeys(Column.of(name).key for name in rule.names)
    members = tuple(load_member(studies, key) for key in keys)
    networks = networks_of(members, rule, place)
    record = load_data_record(studies, blend.data)
    coloured = record.shape[2] > 1 and any(network.preprocess.channels > 1 for network in networks)
    return BlendScorer(
        blend=blend,
        rule=rule,
        shape=_shape(record.shape),
        conversion=record.conversion,
        seen=record.seen or Seen.unknown(coloured=coloured),
        _networks=networks,
        _members=members,
        _studies=studies,
        _device=place,
    )


def _blocks(images: Images) -> Iterator[Images]:
    return (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))


def _shape(numbers: Sequence[int]) -> ImageShape:
    height, width, channels = numbers
    return (height, width, channels)
