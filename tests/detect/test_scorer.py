"""New images get the scores that the blend gives: alone, in a batch, from any kind of file, in bounded memory."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ensemble_ad as ea
from ensemble_ad.blend.alarm import crossfit_reference, threshold
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.data.stream import stream
from ensemble_ad.detect.scorer import _snapped
from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.members.store import load_member

SHAPE = (32, 32, 1)


@pytest.fixture(scope="module")
def images(digits_folder):
    """The digits' test images, uint8 (120, 32, 32, 1)."""
    return np.load(digits_folder / "testingset.npy")


@pytest.fixture(scope="module")
def scorer(studies_folder):
    return ea.load_blend("both", studies_folder, device="cpu")


@pytest.fixture(scope="module")
def steady(studies_folder, tmp_path_factory):
    """A blend of every error kind of fcn.

    The barely trained resnets of `both` have a logit that is constant but for its last digits: its ranks are noise.
    """
    from click.testing import CliRunner

    from ensemble_ad.cli import main

    folder = Path(shutil.copytree(studies_folder, tmp_path_factory.mktemp("steady") / "studies"))
    arguments = ["blend", "--members", "fcn", "--columns", "all", "--name", "fcn", "--studies", str(folder), "-q"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return ea.load_blend("fcn", folder, device="cpu")


@pytest.fixture(scope="module")
def many_kinds(shared_folder, tmp_path_factory, digits_folder):
    """Studies with one member of pca, cutpaste and contrast each, with flips, and blends of them."""
    from click.testing import CliRunner

    from ensemble_ad.cli import main

    folder = tmp_path_factory.mktemp("kinds")
    keys = []
    for preset in ("pca-10", "cutpaste-small", "contrast-small"):
        arguments = ["train", "--preset", preset, "--epochs", "1", "--device", "cpu", "--flips", "--transductive", "-q"]
        result = CliRunner().invoke(main, [*arguments, "--data", str(digits_folder), "--studies", str(folder)])
        assert result.exit_code == 0, result.output
        keys.append(result.stdout.strip())
    for name, members in (("inductive", keys[:2]), ("transductive", keys)):
        arguments = ["blend", "--members", ",".join(members), "--columns", "all", "--name", name, "-q"]
        result = CliRunner().invoke(main, [*arguments, "--studies", str(folder)])
        assert result.exit_code == 0, result.output
    return folder


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_the_test_images_get_the_scores_that_they_have_in_the_blend(steady, images):
    saved = steady.blend.scores()
    np.testing.assert_allclose(steady.score(images), saved, atol=1e-3 * saved.std())


def test_every_kind_of_column_comes_back(many_kinds, images):
    scorer = ea.load_blend("inductive", many_kinds, device="cpu")
    assert any("latent_knn" in name for name in scorer.rule.names)
    assert all(network.flips for network in scorer._networks)
    # A tree splits between values that may be closer than float32's last digits of them.
    saved = scorer.blend.scores()
    close = np.abs(scorer.score(images) - saved) < 1e-2 * saved.std()
    assert close.mean() > 0.97
    members = {name.partition("/")[0] for name in scorer.rule.names}
    vectors = scorer.vectors(images)
    for key in members:
        member = load_member(many_kinds, key)
        for column, name in enumerate(scorer.rule.names):
            if name.startswith(key) and vectors[:, column].any():
                wanted = member.vectors()[1][:, member.columns.index(name.partition("/")[2])]
                np.testing.assert_allclose(vectors[:, column], wanted, rtol=2e-3, atol=1e-4, err_msg=name)


def test_a_transductive_member_scores_new_images_by_all_its_networks(many_kinds, images, run_ensad, tmp_path):
    scorer = ea.load_blend("transductive", many_kinds, device="cpu")
    assert scorer.blend.info.transductive
    assert np.isfinite(scorer.score(images)).all()
    np.save(tmp_path / "new.npy", images)
    result = run_ensad("score", "new.npy", "--blend", "transductive", "--studies", many_kinds)
    assert result.exit_code == 0
    assert "a member was trained on the test images" in result.stderr


@pytest.mark.parametrize("n", [1, 31, 32, 33])
def test_one_image_and_a_batch_agree(scorer, images, n):
    # The second were not among the images that the blend was made of.
    for some in (images, 255 - images):
        together = scorer.score(some)
        parts = [scorer.score(some[start : start + n]) for start in range(0, 60, n)]
        np.testing.assert_array_equal(np.concatenate(parts)[:60], together[:60])


def test_other_last_digits_as_another_machine_gives_them_change_no_rank(steady, images):
    vectors, wanted = steady.vectors(images), steady.score(images)
    noise = 1 + np.random.default_rng(0).uniform(-3e-7, 3e-7, vectors.shape)
    noisy = (vectors * noise).astype(np.float32)
    # Two images of the blend whose errors lie within the noise of each other may change places.
    assert (steady.rule.score(_snapped(noisy, steady.rule)) == wanted).mean() > 0.95
    assert (steady.rule.score(noisy) == wanted).mean() < 0.5
    # What is no noise stays as it is.
    far = (vectors * 1.01).astype(np.float32)
    assert (np.abs(_snapped(far, steady.rule) - far) <= 1e-4 * np.abs(far)).all()


def test_a_blend_that_ranks_nothing_needs_no_snapping():
    rng = np.random.default_rng(0)
    rule = ea.blend_scores(rng.normal(size=(50, 2)), rng.normal(size=(50, 2)), method="mean", normaliser="robust-z")
    rows = rng.normal(size=(5, 2)).astype(np.float32)
    np.testing.assert_array_equal(_snapped(rows, rule), rows)


def test_the_score_of_an_image_does_not_depend_on_the_block_size(scorer, images, monkeypatch):
    together = scorer.score(images)
    monkeypatch.setattr("ensemble_ad.detect.scorer.BLOCK", 7)
    np.testing.assert_array_equal(scorer.score(images), together)


def test_grey_without_an_axis_and_grey_as_colour_are_the_same_images(scorer, images):
    wanted = scorer.score(images)
    np.testing.assert_array_equal(scorer.score(images[..., 0]), wanted)
    np.testing.assert_array_equal(scorer.score(np.repeat(images, 3, axis=3)), wanted)


def test_no_images_have_no_scores(scorer, images):
    assert scorer.score(images[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x / 255, "images must be uint8 of the axes"),
        (lambda x: x[0], r"of one image pass image\[None\]"),
        (lambda x: x[:, :16, :16], "must be 32x32 pixels, as what the blend was trained on, but is 16x16"),
        (lambda x: np.concatenate([x, x, 255 - x], axis=3), "has colours, and the blend was trained on grey images"),
    ],
    ids=["floats", "one image", "another size", "colours"],
)
def test_other_images_are_refused(scorer, images, change, said):
    with pytest.raises(DataError, match=said):
        scorer.score(change(images))


# The threshold


def test_the_threshold_is_the_conformal_quantile():
    reference = np.arange(1.0, 100.0)
    assert threshold(reference, 0.05) == 95.0
    assert threshold(reference, 0.01) == 99.0
    rng = np.random.default_rng(0)
    rates = [(rng.normal(size=1000) > threshold(rng.normal(size=200), 0.05)).mean() for _ in range(200)]
    assert 0.045 < np.mean(rates) < 0.055


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_outside_0_and_1_is_refused(rate):
    with pytest.raises(UsageError, match="--alarm-rate must lie between 0 and 1"):
        threshold(np.arange(99.0), rate)


def test_a_rate_that_so_few_images_cannot_tell_is_refused():
    with pytest.raises(UsageError, match=r"--alarm-rate must be 0.01 or more, not 0.005: there are 99 held-out"):
        threshold(np.arange(99.0), 0.005)


@pytest.mark.parametrize("method", ["auto", "mean", "tail-mean"])
def test_normal_images_that_the_rule_has_not_seen_raise_as_many_alarms_as_asked_for(method):
    rng = np.random.default_rng(0)
    rates, naive = [], []
    for _ in range(5):
        reference, test, new = (rng.normal(size=(n, 8)) for n in (150, 300, 2000))
        test[:100] += 1
        rule = ea.blend_scores(reference, test, method=method)
        found = crossfit_reference(reference, test, method=method)
        rates.append((rule.score(new) > threshold(found, 0.1)).mean())
        naive.append((rule.score(new) > threshold(rule.score(reference), 0.1)).mean())
    assert 0.06 < np.mean(rates) < 0.14
    if method == "auto":
        assert np.mean(naive) > 0.2


def test_of_few_images_the_reference_scores_are_the_blends_own():
    rng = np.random.default_rng(0)
    reference, test = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    wanted = ea.blend_scores(reference, test, method="mean").score(reference)
    np.testing.assert_array_equal(crossfit_reference(reference, test, method="mean"), wanted)


# The command


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


def test_blocks_hold_no_more_than_they_shall(images, tmp_path):
    np.save(tmp_path / "a.npy", images)
    assert [len(block.ids) for block in stream([tmp_path / "a.npy"], SHAPE, block=50)] == [50, 50, 20]
    together = np.concatenate([block.images for block in stream([tmp_path / "a.npy"], SHAPE, block=50)])
    np.testing.assert_array_equal(together, images)


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


_MEASURE = """
import resource, sys
from pathlib import Path
import ensemble_ad as ea
from ensemble_ad.data.stream import stream

scorer = ea.load_blend("wide", sys.argv[1], device="cpu")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = 0
for block in stream([Path(sys.argv[2])], scorer.shape):
    total += len(scorer.score(block.images))
    if total == 2048:
        before = peak()
print(total, peak() - before)
"""


@pytest.mark.slow
def test_the_memory_does_not_grow_with_the_number_of_images(run_ensad, photos, tmp_path):
    (tmp_path / "data").mkdir()
    images = photos(400, 64, 3)
    for name, some in (("trainingset.npy", images[:250]), ("testingset.npy", images[250:])):
        np.save(tmp_path / "data" / name, some)
    assert run_ensad("train", "--preset", "fcn-sample", "--epochs", 1, "--batch-size", 50).exit_code == 0
    assert run_ensad("blend", "--members", "fcn", "--name", "wide").exit_code == 0
    np.save(tmp_path / "many.npy", np.concatenate([images] * 50))
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "studies"), str(tmp_path / "many.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    total, grown = map(int, done.stdout.split())
    assert total == 20_000
    assert grown < 100_000  # KiB; the images have 240,000
