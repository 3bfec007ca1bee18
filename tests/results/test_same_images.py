"""Images that changed since a blend was made are noticed by every command that would use both, in the same words."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from ensemble_ad.blend.saved import load_blend
from ensemble_ad.data import images as image_sets
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.layout import data_record_file, fingerprints_file
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.results.same_images import difference

JUDGES = ("evaluate", "submit", "audit")


def _permute(data):
    """The test images in another order, and their labels with them."""
    order = np.random.default_rng(0).permutation(120)
    np.save(data / "testingset.npy", np.load(data / "testingset.npy")[order])
    lines = (data / "labels.csv").read_text().splitlines()
    labels = [lines[1 + row].split(",")[1] for row in order]
    (data / "labels.csv").write_text("ID,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels)))


def _one_pixel(name):
    def change(data):
        images = np.load(data / name)
        images[7, 3, 3] ^= 1
        np.save(data / name, images)

    return change


def _cut_off(data):
    path = data / "testingset.npy"
    path.write_bytes(path.read_bytes()[:-100])


def _more(data):
    images = np.load(data / "testingset.npy")
    np.save(data / "testingset.npy", np.concatenate([images, images[:10]]))


def _as_folder(data):
    """The same pixels as pictures, whose names are other ids."""
    (data / "test").mkdir()
    for row, image in enumerate(np.load(data / "testingset.npy")):
        Image.fromarray(image[..., 0]).save(data / "test" / f"{row:03}.png")
    (data / "testingset.npy").unlink()


CHANGES = {
    "permuted": (_permute, "the test images have other pixels, or another order"),
    "one pixel": (_one_pixel("testingset.npy"), "the test images have other pixels, or another order"),
    "training": (_one_pixel("trainingset.npy"), "the training images have other pixels, or another order"),
    "cut off": (_cut_off, "they cannot be read"),
    "more": (_more, "there are 130 test images, not 120"),
    "other names": (_as_folder, "test images have other names, as '000.png' where '0' was"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_stop_what_would_be_wrong(run_ensad, data, studies, tmp_path, change):
    CHANGES[change][0](data)
    for command in JUDGES:
        result = run_ensad(command)
        assert (result.exit_code, result.stdout) == (3, ""), command
        line = result.stderr.splitlines()[-1]
        assert "data holds other images than " in line
        assert CHANGES[change][1] in line
        assert "--anyway" in line
        assert "--data" in line
    assert not list((tmp_path / "submissions").glob("*"))
    assert not (studies / "evaluations").exists()
    page = run_ensad("report", "--pictures", 0)
    assert page.exit_code == 0
    assert f"data holds other images than this blend was made of: {CHANGES[change][1]}" in page.stderr


@pytest.mark.parametrize("change", ["permuted", "more"])
def test_with_anyway_it_is_a_warning(run_ensad, data, studies, change):
    ids = (data / "labels.csv").read_text()
    CHANGES[change][0](data)
    (data / "labels.csv").write_text(ids)
    for command in JUDGES:
        result = run_ensad(command, "--anyway", "-q", "--json")
        assert result.exit_code == 0, result.output
        assert CHANGES[change][1] in json.loads(result.stdout)["warnings"][0]


def test_images_that_are_the_same_or_not_there_are_no_news(run_ensad, data, studies):
    record = load_data_record(studies, load_blend(studies, "both").data)
    assert difference(data, studies, record, "both") is None
    for name in ("trainingset.npy", "testingset.npy"):
        (data / name).unlink()
        assert difference(data, studies, record, "both") is None
    for command in JUDGES:
        assert run_ensad(command).exit_code == 0
    shutil.rmtree(data)
    assert run_ensad("submit").exit_code == 0


def test_the_test_images_alone_are_compared(data, studies):
    record = load_data_record(studies, load_blend(studies, "both").data)
    (data / "trainingset.npy").unlink()
    _permute(data)
    assert "the test images have other pixels" in str(difference(data, studies, record, "both"))


def test_a_record_of_an_earlier_version_is_compared_as_a_whole(run_ensad, data, studies):
    path = data_record_file(studies, load_blend(studies, "both").data)
    value = read_json(path)
    write_json(path, {name: value[name] for name in value if name not in ("train", "test", "seen")})
    assert run_ensad("submit").exit_code == 0
    _permute(data)
    result = run_ensad("submit")
    assert result.exit_code == 3
    assert "they have other pixels, or another order" in result.stderr


@pytest.fixture
def folders(tmp_path, digits_folder):
    """Folders of pictures at `data`."""
    for name, array, n in (("train", "trainingset.npy", 200), ("test", "testingset.npy", 60)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for row, image in enumerate(np.load(digits_folder / array)[:n]):
            Image.fromarray(image[..., 0]).save(tmp_path / "data" / name / f"{row:03}.png")
    return tmp_path / "data"


def test_pictures_that_are_added_or_renamed_are_noticed(run_ensad, folders):
    assert run_ensad("train", "--preset", "pca-10").exit_code == 0
    assert run_ensad("blend", "--name", "pictures").exit_code == 0
    assert run_ensad("submit").exit_code == 0
    for row in range(10):
        shutil.copy(folders / "test" / f"{row:03}.png", folders / "test" / f"new-{row}.png")
    result = run_ensad("submit")
    assert result.exit_code == 3
    assert "data holds other images than pictures was made of: there are 70 test images, not 60" in result.stderr
    for row in range(10):
        (folders / "test" / f"new-{row}.png").unlink()
    (folders / "test" / "059.png").rename(folders / "test" / "last.png")  # which keeps the order
    result = run_ensad("submit")
    assert result.exit_code == 3
    assert "other names, as 'last.png' where '059.png' was" in result.stderr
    # Studied again, the same pixels have their names of now.
    assert run_ensad("train", "--preset", "pca-10").exit_code == 0
    path = run_ensad("submit", "-q").stdout.strip()
    assert (folders.parent / path).read_text().splitlines()[-1].startswith("last.png,")


def test_no_file_is_read_twice(data, studies, monkeypatch):
    record = load_data_record(studies, load_blend(studies, "both").data)
    read = []
    blocks = image_sets.blocks
    monkeypatch.setattr(image_sets, "blocks", lambda images: read.append(len(images)) or blocks(images))
    long_ago = time.time() - 100
    for name in ("trainingset.npy", "testingset.npy"):
        os.utime(data / name, (long_ago, long_ago))
    monkeypatch.setattr("ensemble_ad.data.fingerprints._SETTLED", -1.0)  # the status changed just now
    assert difference(data, studies, record, "both") is None
    assert read == [200, 120]
    assert difference(data, studies, record, "both") is None
    assert read == [200, 120]
    # Written into, to the same size and with the old time: the time of the status cannot be set.
    with (data / "testingset.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x63")
    os.utime(data / "testingset.npy", (long_ago, long_ago))
    assert "the test images have other pixels" in str(difference(data, studies, record, "both"))
    assert read == [200, 120, 120]


def test_a_file_that_changed_just_now_is_not_remembered(data, studies):
    record = load_data_record(studies, load_blend(studies, "both").data)
    _permute(data)
    assert "other pixels" in str(difference(data, studies, record, "both"))
    known = read_json(fingerprints_file(studies)) if fingerprints_file(studies).exists() else {}
    assert str(data / "testingset.npy") not in known


@pytest.mark.parametrize("content", ["[]", "{", '{"x": 1}', '{"x": {"identity": 1, "fingerprint": 2}}'])
def test_a_damaged_memory_is_as_none(data, studies, content):
    record = load_data_record(studies, load_blend(studies, "both").data)
    fingerprints_file(studies).parent.mkdir(exist_ok=True)
    fingerprints_file(studies).write_text(content)
    assert difference(data, studies, record, "both") is None
