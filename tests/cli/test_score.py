"""`ensad score`: any kind of file, CSV and JSON, and one line for what cannot be scored."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import ensemble_ad as ea
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.files.json_file import read_json, write_json


@pytest.fixture(scope="module")
def images(digits_folder):
    """The digits' test images, uint8 (120, 32, 32, 1)."""
    return np.load(digits_folder / "testingset.npy")


@pytest.fixture(scope="module")
def scorer(studies_folder):
    return ea.load_blend("both", studies_folder, device="cpu")


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_the_command_writes_csv(run_ensad, studies, data, scorer, images):
    result = run_ensad("score", data / "testingset.npy", "--blend", "both", "--alarm-rate", 0.1, "--device", "cpu")
    assert result.exit_code == 0, result.output
    rows = _rows(result.stdout)
    assert [row["ID"] for row in rows] == [str(i) for i in range(len(images))]
    np.testing.assert_allclose([float(row["score"]) for row in rows], scorer.score(images))
    above = scorer.score(images) > scorer.threshold(0.1)
    assert [row["alarm"] for row in rows] == [str(int(alarm)) for alarm in above]
    assert 0 < above.sum() < len(images)
    assert f"120 images, {above.sum()} alarms" in result.stderr


def test_the_command_writes_json_into_a_file(run_ensad, studies, data, scorer, images, tmp_path):
    result = run_ensad("score", data / "testingset.npy", "--format", "json", "--alarm-rate", 0.1, "-o", "out.json")
    assert (result.exit_code, result.stdout) == (0, "")
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["blend"], found["alarm_rate"]) == ("both", 0.1)
    assert found["threshold"] == scorer.threshold(0.1)
    assert found["images"][3] == {
        "ID": "3",
        "score": pytest.approx(scorer.score(images)[3]),
        "alarm": bool(scorer.score(images)[3] > found["threshold"]),
    }
    assert len(found["images"]) == 120


def test_folders_and_pictures_have_the_scores_of_their_pixels(run_ensad, studies, scorer, images, tmp_path):
    (tmp_path / "new" / "b").mkdir(parents=True)
    names = ["a.png", "b/c.png", "b/d.PNG"]
    for name, image in zip(names, images, strict=False):
        Image.fromarray(image[..., 0]).save(tmp_path / "new" / name)
    (tmp_path / "new" / "readme.txt").write_text("no image")
    rows = _rows(run_ensad("score", "new").stdout)
    assert [row["ID"] for row in rows] == names
    np.testing.assert_allclose([float(row["score"]) for row in rows], scorer.score(images[:3]), atol=1e-3)
    np.save(tmp_path / "two.npy", images[:2])
    rows = _rows(run_ensad("score", "two.npy", "new/b", "new/a.png").stdout)
    assert [row["ID"] for row in rows] == ["two.npy:0", "two.npy:1", "new/b/c.png", "new/b/d.PNG", "new/a.png"]
    one = run_ensad("score", "new/b/c.png", "-q")
    assert (one.stdout.count("\n"), one.stderr) == (2, "")
    assert _rows(one.stdout)[0]["ID"] == "c.png"


def test_bad_input_gets_one_line_and_its_exit_code(run_ensad, studies, data, images, tmp_path):
    np.save(tmp_path / "small.npy", images[:, :16, :16])
    np.save(tmp_path / "floats.npy", images / 255)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    before = sorted(tmp_path.rglob("*"))
    for arguments, code, said in (
        (("none.npy",), 3, "the images none.npy do not exist"),
        (("small.npy",), 3, "small.npy must be 32x32 pixels"),
        (("floats.npy",), 3, "floats.npy must be uint8"),
        (("broken.png", "-o", "out.csv"), 3, "broken.png cannot be read as an image"),
        (("empty", "-o", "out.csv"), 3, "empty must hold images"),
        (("data/testingset.npy", "--blend", "none"), 2, "unknown blend 'none'"),
        (("data/testingset.npy", "--alarm-rate", "2"), 2, "--alarm-rate must lie between 0 and 1"),
        (("data/testingset.npy", "--alarm-rate", "0.001"), 2, "--alarm-rate must be 0.0099 or more"),
        ((), 2, "Missing argument"),
    ):
        result = run_ensad("score", *arguments)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert said in result.stderr.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_of_other_rules_is_refused(run_ensad, studies, data):
    key = load_blend(studies, "both").info.members[0]
    path = studies / "members" / key / "member.json"
    info = read_json(path)
    write_json(path, {**info, "recipe": {**info["recipe"], "version": 1}})
    result = run_ensad("score", data / "testingset.npy")
    assert result.exit_code == 2
    assert f"{key} was made by version 1 of the recipes" in result.stderr


def test_a_member_that_is_missing_or_damaged_is_told(run_ensad, studies, data):
    key = load_blend(studies, "both").info.members[0]
    weights = studies / "members" / key / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    result = run_ensad("score", data / "testingset.npy")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "weights.safetensors is damaged" in result.stderr
    shutil.rmtree(studies / "members" / key)
    assert run_ensad("score", data / "testingset.npy").exit_code == 4


def test_a_closed_pipe_ends_it_quietly(studies, data):
    command = f"{sys.executable} -m ensemble_ad score {data}/testingset.npy --studies {studies} -q | head -n 2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout.count("\n"), done.stderr) == (2, "")
