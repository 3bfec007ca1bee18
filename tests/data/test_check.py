"""`data check`: what is found, and what of it counts as an error."""

import json

import numpy as np
import pytest
from PIL import Image

from ensemble_ad.data.check import check
from ensemble_ad.data.dataset import load_dataset


@pytest.fixture
def findings(data, tmp_path):
    """Checks `data` after training and test images were changed; gives the level of each text."""

    def run(train=None, test=None) -> dict[str, str]:
        for name, change in (("trainingset.npy", train), ("testingset.npy", test)):
            if change is not None:
                np.save(data / name, change(np.load(data / name)))
        return {finding.text: finding.level for finding in check(load_dataset(data, image_cache=tmp_path), data)}

    return run


def _constant(row: slice):
    def change(images: np.ndarray) -> np.ndarray:
        images[row] = 7
        return images

    return change


def _repeated(images: np.ndarray) -> np.ndarray:
    images[3:5] = images[2]
    return images


def test_usable_data_has_no_errors_and_its_facts_are_told(findings, data):
    found = findings()
    assert "error" not in found.values()
    assert f"train: 200 images, (32, 32, 1) uint8, {data / 'trainingset.npy'}" in found
    assert f"test: 120 images, (32, 32, 1) uint8, {data / 'testingset.npy'}" in found
    assert "test: values from 0 to 255" in found
    assert "sample_submission.csv: 120 ids, 0 to 119, all of them test images" in found
    n = sum(line.endswith(",1") for line in (data / "labels.csv").read_text().splitlines())
    assert f"labels.csv: {n} anomalies of 120; only evaluate reads it" in found


@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize(
    ("change", "text", "level"),
    [
        (_repeated, "2 exact duplicates", "warning"),
        (lambda x: x[:1].repeat(len(x), axis=0), "{last} exact duplicates", "error"),
        (_constant(slice(1)), "1 constant images", "warning"),
        (_constant(slice(None)), "{n} constant images", "error"),
        (lambda x: (x > 128).astype(np.uint8), "values from 0 to 1", "warning"),
        (lambda x: x * 0, "values from 0 to 0", "error"),
    ],
    ids=["some duplicates", "all the same", "one constant", "all constant", "0 to 1", "black"],
)
def test_images_that_say_little_warn_and_ones_that_say_nothing_fail(findings, which, change, text, level):
    n = {"train": 200, "test": 120}[which]
    assert findings(**{which: change})[f"{which}: {text.format(n=n, last=n - 1)}"] == level


@pytest.mark.parametrize(("n", "level"), [(0, "ok"), (1, "warning"), (2, "error")])
def test_a_test_image_in_a_hundred_may_be_a_training_image(findings, data, n, level):
    train = np.load(data / "trainingset.npy")
    found = findings(test=lambda x: np.concatenate([train[:n], x[n:]]))
    assert found[f"{n} of 120 test images are also training images"] == level


@pytest.mark.parametrize(
    ("n", "text", "level"),
    [
        (39, "at least 40 training images are needed, not 39", "error"),
        (40, "fewer than 300 training images: trials will be hard to tell apart", "warning"),
    ],
)
def test_too_few_training_images_are_told(findings, n, text, level):
    assert findings(train=lambda x: x[:n])[text] == level


def test_three_equal_channels_are_told(findings):
    text = "all three channels are equal: studies train on one"
    assert text not in findings()
    assert text in findings(train=lambda x: x.repeat(3, axis=3), test=lambda x: x.repeat(3, axis=3))


@pytest.mark.parametrize("name", ["sample_submission.csv", "labels.csv"])
def test_a_file_of_other_ids_is_an_error(findings, data, name):
    (data / name).write_text((data / name).read_text() + "120,1\n")
    message = f"{data / name} must have the ids of the 120 test images: 1 unknown ('120')"
    assert findings()[message] == "error"


def test_without_sample_and_labels_nothing_is_wrong(findings, data):
    (data / "sample_submission.csv").unlink()
    (data / "labels.csv").unlink()
    found = findings()
    assert found["no sample_submission.csv: a submission gets the ids of the test images"] == "ok"
    assert not any(text.startswith("labels.csv") for text in found)


@pytest.fixture
def folders(data, digits_folder):
    """`data/` with the digits as pictures, and beside those what is no picture; gives the folder of training images."""
    for name, folder in (("trainingset.npy", "train"), ("testingset.npy", "test")):
        (data / folder).mkdir()
        for row, image in enumerate(np.load(data / name)[..., 0]):
            Image.fromarray(image).save(data / folder / f"{row:03}.png")
        (data / name).unlink()
    for name in ("labels.csv", "sample_submission.csv"):
        (data / name).unlink()
    (data / "train" / "._000.png").write_bytes(b"")
    (data / "train" / "a.PSD").write_bytes(b"")
    (data / "train" / "gone.png").symlink_to("nowhere.png")
    return data / "train"


SAID = {
    "train: 1 hidden files and folders are passed over; the first is '._000.png'": "ok",
    "train: 1 files are of no format that is read, and are passed over: 1 .psd; convert pictures among them to PNG": (
        "warning"
    ),
    "train: 1 links lead nowhere, and are passed over; the first is 'gone.png'": "warning",
}


def test_the_check_says_what_was_passed_over(folders, run_ensad):
    found = json.loads(run_ensad("data", "check", "--json").stdout)["result"]
    assert found["remarks"] == {"train": {"hidden": 1, "other": 1, "dangling": 1}, "test": {}}
    assert {f["text"]: f["level"] for f in found["findings"]}.items() >= SAID.items()
    assert found["training_images"] == 200


@pytest.mark.parametrize("command", ["tune --family pca --trials 1", "train --preset pca-10"])
def test_a_study_says_before_it_begins_what_was_passed_over(folders, run_ensad, command):
    result = run_ensad(*command.split(), "--device", "cpu")
    assert result.exit_code == 0, result.output
    lines = [f"warning: {text}" if level == "warning" else text for text, level in SAID.items()]
    assert result.stderr.splitlines()[:3] == lines


def test_pictures_beside_an_array_are_said_to_be_passed_over(data, run_ensad):
    (data / "train").mkdir()
    found = json.loads(run_ensad("data", "check", "--json").stdout)["result"]
    assert found["remarks"] == {"train": {"shadowed": 1}, "test": {}}
    assert "the first is 'train'" in found["findings"][1]["text"]
