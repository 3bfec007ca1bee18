"""New images get the scores that the blend gives: alone, in a batch, in bounded memory."""

import dataclasses
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

import ensemble_ad as ea
from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.data.digits import read_digits
from ensemble_ad.data.stream import stream
from ensemble_ad.detect.networks import snapped
from ensemble_ad.errors import DataError, UsageError
from ensemble_ad.families.reconstruction import ERROR_KINDS
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.layout import data_record_file
from ensemble_ad.members.store import list_members, load_member

SHAPE = (32, 32, 1)


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


def test_a_scorer_computes_the_kinds_of_error_that_count(steady, images, monkeypatch):
    def forbidden(*_: object) -> None:
        raise AssertionError("a kind of error that does not count was computed")

    wanted, network = steady.vectors(images[:40]), steady._networks[0]
    kinds = {column.kind for column in network.columns.values()}
    assert len(kinds) > 2, kinds
    for position, column in network.columns.items():
        alone = dataclasses.replace(network, columns={position: column})
        with monkeypatch.context() as patched:
            for kind in ERROR_KINDS.keys() - {column.kind}:
                patched.setitem(ERROR_KINDS, kind, forbidden)
            if not column.kind.endswith(("_knn", "_lof")):
                patched.setattr(torch, "cdist", forbidden)
            found = dataclasses.replace(steady, _networks=(alone,)).vectors(images[:40])
        np.testing.assert_array_equal(found[:, position], wanted[:, position])


_LOADED = """
import sys
from ensemble_ad.cli import main

main(["score", sys.argv[1], "--blend", "fcn", "--studies", sys.argv[2], "-o", "scores.csv"], standalone_mode=False)
print(*{"torchvision", "torch._dynamo", "sympy", "sklearn", "pandas", "optuna", "joblib"} & set(sys.modules))
"""


def test_scoring_imports_nothing_that_it_does_not_need(steady, images, tmp_path):
    np.save(tmp_path / "new.npy", images[:1])
    command = [sys.executable, "-c", _LOADED, "new.npy", str(steady._studies)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert (tmp_path / "scores.csv").read_text().count("\n") == 2


def test_a_transductive_member_scores_new_images_by_all_its_networks(many_kinds, images, run_ensad, tmp_path):
    scorer = ea.load_blend("transductive", many_kinds, device="cpu")
    assert scorer.blend.info.transductive
    columns = stacked(scorer.rule.names, list_members(many_kinds)[0])
    assert [name.startswith("contrast") for name in scorer.rule.names] == columns.transductive.tolist()
    assert np.isfinite(scorer.score(images)).all()
    np.save(tmp_path / "new.npy", images)
    result = run_ensad("score", "new.npy", "--blend", "transductive", "--studies", many_kinds)
    assert result.exit_code == 0
    assert "a member was trained on the test images" in result.stderr


@pytest.mark.filterwarnings("ignore:unlike all training images")
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
    assert (steady.rule.score(snapped(noisy, steady.rule)) == wanted).mean() > 0.95
    assert (steady.rule.score(noisy) == wanted).mean() < 0.5
    # What is no noise stays as it is.
    far = (vectors * 1.01).astype(np.float32)
    assert (np.abs(snapped(far, steady.rule) - far) <= 1e-4 * np.abs(far)).all()


def test_a_blend_that_ranks_nothing_needs_no_snapping():
    rng = np.random.default_rng(0)
    rule = ea.blend_scores(rng.normal(size=(50, 2)), rng.normal(size=(50, 2)), method="mean", normaliser="robust-z")
    rows = rng.normal(size=(5, 2)).astype(np.float32)
    np.testing.assert_array_equal(snapped(rows, rule), rows)


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
        (lambda x: x[:, :16, :16], "must be 32x32 pixels, as those that were trained on, but is 16x16"),
        (lambda x: np.concatenate([x, x, 255 - x], axis=3), "has colours, and the blend was trained on grey images"),
    ],
    ids=["floats", "one image", "another size", "colours"],
)
def test_other_images_are_refused(scorer, images, change, said):
    with pytest.raises(DataError, match=said):
        scorer.score(change(images))


def test_blocks_hold_no_more_than_they_shall(images, tmp_path):
    np.save(tmp_path / "a.npy", images)
    assert [len(block.ids) for block in stream([tmp_path / "a.npy"], SHAPE, block=50)] == [50, 50, 20]
    together = np.concatenate([block.images for block in stream([tmp_path / "a.npy"], SHAPE, block=50)])
    np.testing.assert_array_equal(together, images)


def test_images_unlike_all_training_images_get_a_warning(scorer, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer.score(images)
    strange = images[:5].copy()
    strange[2:4] = 0
    with pytest.warns(
        UserWarning, match=r"2 constant \(one value everywhere; the first is '2'\); of 5 images"
    ) as caught:
        scores = scorer.score(strange)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(scores[:2], scorer.score(images[:2]))
    assert scorer.unlike(strange) == [None, None, "constant", "constant", None]


def test_a_blend_of_an_earlier_version_knows_only_colours_and_blanks(studies, images):
    path = data_record_file(studies, load_blend(studies, "both").data)
    value = read_json(path)
    write_json(path, {name: value[name] for name in value if name != "seen"})
    scorer = ea.load_blend("both", studies, device="cpu")
    assert scorer.unlike(images) == [None] * len(images)
    assert scorer.unlike(255 - images) == [None] * len(images)
    assert scorer.unlike(images[:1] * 0) == ["constant"]


def test_the_usual_alarm_rate_is_as_low_as_the_held_out_images_carry(scorer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scorer.threshold() == scorer.threshold(0.01)
    few = dataclasses.replace(scorer)
    vars(few)["reference"] = scorer.reference[:30]
    assert few.usual_rate == 1 / 31
    with pytest.warns(UserWarning, match="30 held-out normal images carry no alarm rate of 0.01; .* 0.0323"):
        assert few.threshold() == scorer.reference[29]
    with pytest.raises(UsageError, match=r"alarm_rate must be 0\.033 or more, not 0\.032"):
        few.threshold(0.032)
    assert few.threshold(0.033) == scorer.reference[29]  # as the error says


_MEASURE = """
import resource, sys
from pathlib import Path
import ensemble_ad as ea
from ensemble_ad.blend.saved import load_blend
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


def test_p_values_of_unseen_normal_images_are_no_lower_than_they_may(scorer):
    normal = read_digits().train[200:]  # that the blend has not seen
    p = scorer.p_values(normal)
    n = len(scorer.reference)
    for above in (3, 5, 10, 20, 50):
        level = above / (n + 1)
        assert (p <= level + 1e-9).sum() <= betabinom.ppf(0.999, len(normal), above, n + 1 - above), level
    assert p.min() >= 1 / (n + 1)
    np.testing.assert_array_equal(p <= 0.1, scorer.score(normal) > scorer.threshold(0.1))
