"""The check of a data set: what it holds, and whether anything in it would make a study worthless."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.images import ImageSet, blocks
from ensemble_ad.data.split import REFERENCE_LEAST, TRAIN_LEAST
from ensemble_ad.errors import DataError
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.files.sample import sample_ids

# Where a larger share of the test images are training images too, models have seen too much of the test set.
_LEAK = 0.01


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the check.

    Attributes:
        text: what was found.
        level: "ok", "warning", or "error" for what would make a study worthless.
    """

    text: str
    level: str = "ok"


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What is found in an image set: a hash of each image, the range of the pixels, the number of constant images."""

    hashes: list[bytes]
    low: int
    high: int
    constant: int


def _read(image_set: ImageSet) -> _Content:
    hashes: list[bytes] = []
    low, high, constant = 255, 0, 0
    for block in blocks(image_set.images):
        flat = block.reshape(len(block), -1)
        least, most = flat.min(axis=1), flat.max(axis=1)
        low, high = min(low, int(least.min())), max(high, int(most.max()))
        constant += int((least == most).sum())
        hashes += [hashlib.blake2b(row.data, digest_size=16).digest() for row in flat]
    return _Content(hashes=hashes, low=low, high=high, constant=constant)


def check(dataset: Dataset, folder: Path) -> list[Finding]:
    """Look at the images, at duplicates, at test images that are training images, at the submission and the labels.

    What was passed over is said too.

    Args:
        dataset: the images.
        folder: where `sample_submission.csv` and `labels.csv` may lie.
    """
    return [
        Finding(text=f"fingerprint {dataset.fingerprint}"),
        *(Finding(text=text, level=level) for level, text in dataset.remarks()),
        *_check_images(dataset),
        *_check_count(len(dataset.train)),
        *(
            [*_check_sample(dataset, folder), *_check_labels(dataset, folder)]
            if len(dataset.test)
            else _without_test(dataset)
        ),
    ]


def worthless(dataset: Dataset, folder: Path) -> list[str]:
    """What `check` calls an error, of the images and the sample submission; labels are not opened.

    A study on such data would be worthless. Too few training images are left to `split_rows`, which refuses them.
    """
    findings = _check_images(dataset)
    if len(dataset.test):
        findings += _check_sample(dataset, folder)
    return [finding.text for finding in findings if finding.level == "error"]


def _check_images(dataset: Dataset) -> list[Finding]:
    train = _read(dataset.train)
    findings = [*_check_set("train", dataset.train, train), *_check_groups(dataset)]
    if len(dataset.test):
        test = _read(dataset.test)
        findings += _check_set("test", dataset.test, test)
        known = set(train.hashes)
        leaked = sum(h in known for h in test.hashes)
        findings.append(
            Finding(
                text=f"{leaked} of {len(test.hashes)} test images are also training images",
                level="ok" if leaked == 0 else "warning" if leaked <= _LEAK * len(test.hashes) else "error",
            )
        )
    if dataset.is_grey and dataset.channels == 3:
        findings.append(Finding(text="all three channels are equal: studies train on one"))
    return findings


def _check_count(n_train: int) -> list[Finding]:
    if n_train < 2 * TRAIN_LEAST:
        text = f"at least {2 * TRAIN_LEAST} training images are needed, not {n_train}"
        return [Finding(text=text, level="error")]
    if n_train < 2 * REFERENCE_LEAST:
        text = f"fewer than {2 * REFERENCE_LEAST} training images: trials will be hard to tell apart"
        return [Finding(text=text, level="warning")]
    return []


def _without_test(dataset: Dataset) -> list[Finding]:
    """What is possible without test images, and what is not."""
    texts = [
        "no test images: models are judged and weighted by images that are damaged on purpose; "
        "`ensad blend --test FOLDER` takes unlabelled images into account when they come",
        "until then: no estimate of the AUC, no share of anomalies, nothing to submit, and no `contrast`",
    ]
    if len(dataset.train) >= 2 * TRAIN_LEAST:
        held_out = len(dataset.split().reference)
        lowest = f"{1 / (held_out + 1):.2g}"
        texts.append(f"{held_out} training images are held out: ensad score takes alarm rates from {lowest} up")
    return [Finding(text=text) for text in texts]


def _check_set(name: str, image_set: ImageSet, content: _Content) -> list[Finding]:
    n = len(image_set)
    distinct = len(set(content.hashes))
    duplicates, all_same = n - distinct, distinct == 1 and n > 1
    return [
        Finding(text=f"{name}: {n} images, {image_set.images.shape[1:]} {image_set.images.dtype}, {image_set.source}"),
        Finding(
            text=f"{name}: values from {content.low} to {content.high}",
            level="error" if content.high == content.low else "warning" if content.high <= 1 else "ok",
        ),
        Finding(
            text=f"{name}: {duplicates} exact duplicates",
            level="error" if all_same else "warning" if duplicates else "ok",
        ),
        Finding(
            text=f"{name}: {content.constant} constant images",
            level="error" if content.constant == n else "warning" if content.constant else "ok",
        ),
    ]


def _check_groups(dataset: Dataset) -> list[Finding]:
    """How many training images belong together; the split sees to it that this does no harm."""
    if dataset.together is None:
        return []
    sizes = np.bincount(dataset.together)
    several = sizes[sizes > 1]
    what = "near-duplicates" if dataset.named is None else "named ones and near-duplicates"
    text = f"train: {several.sum()} images lie in {len(several)} groups ({what}): each is held out or trained on whole"
    return [Finding(text=text)]


def _check_sample(dataset: Dataset, folder: Path) -> list[Finding]:
    sample = folder / "sample_submission.csv"
    if not sample.exists():
        return [Finding(text="no sample_submission.csv: a submission gets the ids of the test images")]
    try:
        ids = sample_ids(sample, dataset.test.ids)
    except DataError as error:
        return [Finding(text=str(error), level="error")]
    return [Finding(text=f"{sample.name}: {len(ids)} ids, {ids[0]} to {ids[-1]}, all of them test images")]


def _check_labels(dataset: Dataset, folder: Path) -> list[Finding]:
    labels = folder / "labels.csv"
    if not labels.exists():
        return []
    try:
        label = read_labels(labels, dataset.test.ids)
    except DataError as error:
        return [Finding(text=str(error), level="error")]
    return [Finding(text=f"{labels.name}: {int(np.sum(label))} anomalies of {len(label)}; only evaluate reads it")]
