"""`ensad score`: any kind of file, CSV and JSON, and one line for what cannot be scored."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import false_discovery_control

from ensemble_ad.blend.saved import load_blend
from ensemble_ad.files.json_file import read_json, write_json


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


def test_more_alarms_than_normal_images_give_are_said(run_ensad, studies, data, tmp_path):
    usual = np.load(data / "trainingset.npy")[:40]
    for images, said in ((usual, False), (np.random.default_rng(0).permuted(usual, axis=1), True)):
        np.save(tmp_path / "new.npy", images)
        result = run_ensad("score", "new.npy", "--alarm-rate", 0.1)
        assert result.exit_code == 0, result.output
        assert ("alarms at most are usual" in result.stderr) == said, result.stderr


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
        (("floats.npy",), 3, "floats.npy must have 8 bits a channel"),
        (("broken.png", "-o", "out.csv"), 3, "broken.png cannot be read as an image"),
        (("empty", "-o", "out.csv"), 3, "empty must hold images"),
        (("data/testingset.npy", "--blend", "none"), 2, "unknown blend 'none'"),
        (("data/testingset.npy", "--alarm-rate", "2"), 2, "--alarm-rate must lie between 0 and 1"),
        (("data/testingset.npy", "--alarm-rate", "0.001"), 2, "--alarm-rate must be 0.01 or more"),
        ((), 2, "Missing argument"),
    ):
        result = run_ensad("score", *arguments)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert said in result.stderr.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


# What cannot be scored, and what is strange


@pytest.fixture
def camera(tmp_path, photos):
    """A folder of 20 JPEGs, of which the eighth is cut off and the ninth is larger."""
    (tmp_path / "camera").mkdir()
    for row, image in enumerate(photos(20, 32, 1)):
        Image.fromarray(image[..., 0]).save(tmp_path / "camera" / f"{row:02}.jpg")
    path = tmp_path / "camera" / "07.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    Image.fromarray(photos(1, 40, 1)[0, ..., 0]).save(tmp_path / "camera" / "08.jpg")
    return tmp_path / "camera"


@pytest.mark.filterwarnings("error")
def test_one_bad_picture_costs_its_own_score_and_no_other(run_ensad, studies, camera):
    result = run_ensad("score", "camera")
    good = [f"{row:02}.jpg" for row in range(20) if row not in (7, 8)]
    assert result.exit_code == 3
    assert [row["ID"] for row in _rows(result.stdout)] == good
    said = result.stderr.splitlines()
    assert sum("camera/07.jpg cannot be read as an image" in line for line in said) == 2  # and in the error
    assert sum("camera/08.jpg must be 32x32 pixels" in line for line in said) == 1
    assert said[-1].startswith("Error: 2 of 20 could not be scored, the first: camera/07.jpg cannot be read")
    result = run_ensad("score", "camera", "--format", "json", "-o", "out.json")
    assert result.exit_code == 3
    assert [image["ID"] for image in json.loads((camera.parent / "out.json").read_text())["images"]] == good
    found = json.loads(run_ensad("score", "camera", "--json", "-q").stdout)
    assert [image["ID"] for image in found["result"]["images"]] == good
    assert [each["ID"] for each in found["result"]["failed"]] == ["07.jpg", "08.jpg"]
    assert (found["ok"], found["error"]["exit_code"], found["result"]["failed_count"]) == (False, 3, 2)


def test_strict_stops_at_the_first_and_writes_no_file(run_ensad, studies, camera):
    result = run_ensad("score", "camera", "--strict", "-o", "out.csv")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].startswith("Error: camera/07.jpg cannot be read as an image")
    assert not (camera.parent / "out.csv").exists()
    assert run_ensad("score", "none.npy", "camera", "--strict").stdout == ""


def test_a_bad_source_costs_no_other_source(run_ensad, studies, images, tmp_path):
    np.save(tmp_path / "good.npy", images[:2])
    np.save(tmp_path / "small.npy", images[:2, :16, :16])
    mixed = np.repeat(images[:3], 3, axis=3)
    mixed[1, 0, 0] = (1, 2, 3)
    np.save(tmp_path / "mixed.npy", mixed)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-9])
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    sources = ("small.npy", "cut.npy", "empty", "broken.png", "none.png", "good.npy", "mixed.npy")
    result = run_ensad("score", *sources)
    assert result.exit_code == 3
    assert [row["ID"] for row in _rows(result.stdout)] == ["good.npy:0", "good.npy:1", "mixed.npy:0", "mixed.npy:2"]
    for said in (
        "small.npy must be 32x32", "cut.npy is cut off or damaged", "empty must hold images",
        "broken.png cannot be read", "the images none.png do not exist", "image mixed.npy:1 has colours",
    ):  # fmt: skip
        assert f"warning: {said}" in result.stderr
    assert "Error: 6 of 10 could not be scored" in result.stderr


def test_a_name_that_no_csv_file_may_hold_costs_its_own_score(run_ensad, studies, images, tmp_path):
    (tmp_path / "new").mkdir()
    for name in ("=1+1.png", "a.png"):
        Image.fromarray(images[0, ..., 0]).save(tmp_path / "new" / name)
    result = run_ensad("score", "new")
    assert (result.exit_code, [row["ID"] for row in _rows(result.stdout)]) == (3, ["a.png"])
    assert "'=1+1.png'; rename it" in result.stderr
    result = run_ensad("score", "new", "--format", "json")
    assert (result.exit_code, len(json.loads(result.stdout)["images"])) == (0, 2)


def test_of_many_bad_pictures_twenty_are_named(run_ensad, studies, images, tmp_path):
    (tmp_path / "new").mkdir()
    for row in range(130):
        (tmp_path / "new" / f"{row:03}.png").write_bytes(b"no picture")
    result = run_ensad("score", "new")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "Error: none of 130 could be scored" in result.stderr
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "new" / "a.png")
    result = run_ensad("score", "new", "-q")
    assert result.stderr.count("cannot be read as an image") == 21
    assert "warning: 110 more could not be scored" in result.stderr
    found = json.loads(run_ensad("score", "new", "-q", "--json").stdout)["result"]
    assert (len(found["failed"]), found["failed_count"], found["image_count"]) == (100, 130, 1)


def test_strange_images_are_told_and_marked(run_ensad, studies, images, tmp_path):
    strange = images[:6].copy()
    strange[1], strange[4] = 0, 255
    np.save(tmp_path / "new.npy", strange)
    result = run_ensad("score", "new.npy", "-q")
    assert result.exit_code == 0
    assert set(_rows(result.stdout)[1]) == {"ID", "score", "alarm"}
    assert "2 constant (one value everywhere; the first is '1'); of 6 images" in result.stderr
    rows = json.loads(run_ensad("score", "new.npy", "--format", "json").stdout)["images"]
    assert [row.get("unlike") for row in rows] == [None, "constant", None, None, "constant", None]
    assert json.loads(run_ensad("score", "new.npy", "--json").stdout)["result"]["unlike"] == {"constant": 2}
    assert "unlike" not in run_ensad("score", "data/testingset.npy").stderr


def test_a_grey_picture_is_strange_to_a_blend_of_colours(run_ensad, photos, tmp_path):
    (tmp_path / "data").mkdir()
    images = photos(300, 32, 3)
    for name, some in (("trainingset.npy", images[:60]), ("testingset.npy", images[60:])):
        np.save(tmp_path / "data" / name, some)
    assert run_ensad("train", "--preset", "pca-10").exit_code == 0
    assert run_ensad("blend", "--name", "colours").exit_code == 0
    Image.fromarray(images[250][..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(images[251]).save(tmp_path / "colours.png")
    result = run_ensad("score", "grey.png", "colours.png")
    assert result.exit_code == 0
    assert "1 grey (no colours, and all training images have colours; the first is 'grey.png')" in result.stderr
    # Of 60 training images 30 are held out, which carry no alarm rate of 0.01.
    assert "warning: 30 held-out normal images carry no alarm rate of 0.01; taken is the lowest" in result.stderr
    assert json.loads(run_ensad("score", "grey.png", "--json", "-q").stdout)["result"]["alarm_rate"] == 1 / 31
    result = run_ensad("score", "grey.png", "--alarm-rate", 0.01)
    assert (result.exit_code, "--alarm-rate must be 0.033 or more" in result.stderr) == (2, True)
    assert run_ensad("score", "grey.png", "--alarm-rate", 0.033).exit_code == 0


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


def test_what_a_folder_holds_beside_pictures_is_said_before_it_is_scored(run_ensad, studies, images, tmp_path):
    (tmp_path / "new" / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("a.png", "._a.png", ".ipynb_checkpoints/a-checkpoint.png"):
        Image.fromarray(images[0, ..., 0]).save(tmp_path / "new" / name)
    Image.fromarray(images[1, ..., 0]).save(tmp_path / "new" / "IMG_0002", "PNG")
    frames = [Image.fromarray(image[..., 0]) for image in images[2:5]]
    frames[0].save(tmp_path / "new" / "c.png", save_all=True, append_images=frames[1:])
    (tmp_path / "new" / "d.psd").write_bytes(b"no picture that Pillow reads")
    result = run_ensad("score", "new")
    assert (result.exit_code, [row["ID"] for row in _rows(result.stdout)]) == (0, ["IMG_0002", "a.png", "c.png"])
    before, after = result.stderr.split("warning: 1 pictures have several frames")
    assert "\n2 hidden files and folders are passed over; the first is '._a.png'\n" in before
    assert "warning: 1 files are of no format that is read, and are passed over: 1 .psd; convert" in before
    assert "the first is 'c.png'\n3 images" in after
    found = json.loads(run_ensad("score", "new", "--json", "-q").stdout)
    assert found["result"]["remarks"] == {"hidden": 2, "other": 1, "pages": 1}
    assert len(found["warnings"]) == 2


def test_of_several_sources_each_is_looked_through(run_ensad, studies, images, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(images[0, ..., 0]).save(tmp_path / folder / "a.png")
        Image.fromarray(images[0, ..., 0]).convert("RGBA").save(tmp_path / folder / "b.png")
        (tmp_path / folder / "c.psd").touch()
    clear = Image.fromarray(images[0, ..., 0]).convert("LA")
    clear.putalpha(0)
    clear.save(tmp_path / "one.png")
    result = run_ensad("score", "x", "one.png", "y", "-q")
    assert (result.exit_code, len(_rows(result.stdout))) == (0, 5)
    assert "2 files are of no format that is read, and are passed over: 2 .psd" in result.stderr
    assert "1 pictures have transparent parts" in result.stderr
    assert "the first is 'one.png'" in result.stderr


def test_p_values_and_discoveries_are_columns(run_ensad, studies, data, scorer, images, tmp_path):
    shown = run_ensad("score", "data/testingset.npy", "--alarm-rate", "0.1")
    assert re.search(r"which 0.1 of normal images exceed \(0.0\d+ to 0.1\d+, 95%, by 100 held-out ones\)", shown.stderr)
    result = run_ensad("score", "data/testingset.npy", "--p-values", "--fdr", "0.2", "-q")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(io.StringIO(result.stdout))
    assert [*table] == ["ID", "score", "alarm", "p_value", "discovery"]
    np.testing.assert_allclose(table["p_value"], scorer.p_values(images))
    wanted = false_discovery_control(table["p_value"]) <= 0.2
    np.testing.assert_array_equal(table["discovery"], wanted)
    document = json.loads(run_ensad("score", "data/testingset.npy", "--fdr", "0.2", "--json", "-q").stdout)["result"]
    assert document["discovery_count"] == wanted.sum()
    assert [image["discovery"] for image in document["images"]] == wanted.tolist()
    plain = run_ensad("score", "data/testingset.npy", "--p-values", "-q", "-o", "p.csv")
    assert plain.exit_code == 0
    assert [*pd.read_csv(tmp_path / "p.csv")] == ["ID", "score", "alarm", "p_value"]
    refused = run_ensad("score", "data/testingset.npy", "--fdr", "2")
    assert (refused.exit_code, "--fdr must lie between 0 and 1, not 2.0" in refused.stderr) == (2, True)
