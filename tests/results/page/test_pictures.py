"""Pictures, error maps and latents are what they are called; where they cannot be had, the page says so."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
import torch

from ensemble_ad.blend.saved import load_blend
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import apply
from ensemble_ad.detect.overlays import overlay
from ensemble_ad.members.store import list_members
from ensemble_ad.results.page import render
from ensemble_ad.results.page.pictures import kept_together
from ensemble_ad.training.step import to_input


def test_the_pictures_are_the_ones_that_their_titles_say(contents, label, main, studies_folder):
    score = load_blend(studies_folder, "both").scores()
    shares = np.stack([scipy.stats.rankdata(column) for column in main.values()]) / len(score)
    wanted: dict[str, Sequence[int]] = {
        "most": np.argsort(-score).tolist(),
        "least": np.argsort(score).tolist(),
        "disputed": np.argsort(-shares.std(axis=0), kind="stable").tolist(),
        "false_positives": [i for i in np.argsort(-score) if label[i] == 0],
        "false_negatives": [i for i in np.argsort(score) if label[i] == 1],
    }
    assert list(contents.gallery.groups) == list(wanted)
    for group, shots in contents.gallery.groups.items():
        assert [shot.name for shot in shots] == [str(i) for i in list(wanted[group])[:3]], group
        for shot in shots:
            row = int(shot.name)
            assert (shot.score, shot.label) == (score[row], label[row])
            assert shot.rank == pytest.approx((score < score[row]).mean(), abs=1e-2)
            assert shot.disagreement == pytest.approx(shares[:, row].std())


def test_an_error_map_is_the_error_that_the_member_scored(contents, members, digits_folder, shared_folder):
    """From the map's reconstruction follows the member's cached reconstruction error, but for rounding to 8 bits."""
    dataset = load_dataset(digits_folder, image_cache=shared_folder)
    checked = 0
    for shots in contents.gallery.groups.values():
        for shot in shots:
            row = int(shot.name)
            np.testing.assert_array_equal(shot.image, dataset.test.images[row])
            for view in shot.views:
                member = members[view.key]
                crop = member.info.recipe.json["preprocess"]["crop"][0]
                seen = apply(shot.image[None], _preprocess(member))[0]
                assert view.error.shape == seen.shape[:2]
                np.testing.assert_allclose(
                    view.error, np.abs(seen.astype(float) - view.reconstruction).mean(axis=2), atol=1e-9
                )
                both = [to_input(torch.tensor(x[None].copy())) for x in (seen, view.reconstruction)]
                error = float((both[0] - both[1]).square().sum().sqrt())
                cached = member.vectors()[1][row, member.columns.index("rss")]
                assert error == pytest.approx(cached, rel=5e-3), (view.key, crop)
                assert view.rank == pytest.approx(_below(member, row), abs=1e-2)
                checked += 1
    assert checked >= 6


def test_beside_each_image_is_the_blends_own_map(contents, scorer):
    shots = [shot for some in contents.gallery.groups.values() for shot in some]
    for shot in shots[:3]:
        np.testing.assert_array_equal(shot.where, overlay(shot.image, scorer.explain(shot.image[None])[0]))
    text = render(contents)
    assert text.count("where the blend sees anomalies in") == len(shots)
    assert "the image stays grey up to 5, a line surrounds what is above 7, and from 14 on it is pale yellow" in text


def _preprocess(member):
    from ensemble_ad.training.recipe import Recipe

    return Recipe.from_json(member.info.recipe.json).preprocess


def _below(member, row):
    column = member.vectors()[1][:, member.columns.index(member.main_column)]
    return (column < column[row]).mean()


def test_latents_are_of_every_family_and_of_both_ends(contents, studies_folder):
    score = load_blend(studies_folder, "both").scores()
    assert [(s.family, s.name) for s in contents.latents] == [
        (family, str(row))
        for family in dict.fromkeys(s.family for s in contents.latents)
        for row in (score.argmin(), score.argmax())
    ]
    assert {s.family for s in contents.latents} == {"fcn", "resnet"}
    for sheet in contents.latents:
        assert list(sheet.noise) == [0.2, 0.5, 0.8]
        assert {factor for _, factor in sheet.scaled} == {0.0, 2.0, 4.0}
        assert all(p.shape == sheet.reconstruction.shape for p in (*sheet.noise.values(), *sheet.scaled.values()))
        near, far = (np.abs(sheet.noise[s].astype(float) - sheet.reconstruction).mean() for s in (0.2, 0.8))
        assert 0 < near < far or sheet.family == "resnet"  # which has seen one epoch, and decodes all alike


def test_without_the_images_there_are_no_pictures_and_the_page_says_why(report, data, studies, studies_folder):
    for record in (studies / "data").iterdir():  # the folder that the members were made from is gone too
        record.write_text(re.sub(r'"source": "[^"]*"', '"source": "/gone"', record.read_text()))
    shutil.rmtree(data)
    text, stderr = report()
    assert "no pictures and latents: the data folder data does not exist" in text
    assert "no pictures and latents" in stderr
    assert "data:image" not in text
    data.mkdir()
    for name in ("trainingset.npy", "testingset.npy"):
        np.save(data / name, np.random.default_rng(0).integers(0, 256, (60, 16, 16, 1), dtype=np.uint8))
    text, _ = report()
    assert "data holds other images than this blend was made of" in text


def test_a_damaged_model_costs_its_pictures_and_no_more(run_ensad, report, data, studies):
    member = next(m for m in list_members(studies)[0] if m.family == "fcn")
    for each in list_members(studies)[0]:
        if each.family == "fcn":
            (each.folder / "weights.safetensors").write_bytes(b"damaged")
    text, stderr = report("--pictures", 1)
    assert "no pictures of fcn" in stderr
    assert "no maps of the blend" in stderr
    assert "resnet&#39;s reconstruction" in text
    (member.folder / "vectors.npz").write_bytes(b"damaged")
    result = run_ensad("report")
    assert result.exit_code == 4
    assert "is damaged" in result.stderr


@pytest.mark.slow
def test_without_pictures_no_torch_is_imported(tmp_path, data, studies):
    code = (
        "import sys\nfrom ensemble_ad.cli import main\n"
        "try:\n    main(['report', '--pictures', '0', '-q'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'ensemble_ad.results.page.pictures' in sys.modules\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report-both.html\n"


def test_near_duplicates_are_listed_the_largest_group_first(tmp_path, digits_folder):
    images = np.load(digits_folder / "trainingset.npy")[:100]
    brighter = np.minimum(images[[3, 3, 7]], 254) + np.array([1, 0, 0], np.uint8)[:, None, None, None]
    np.save(tmp_path / "trainingset.npy", np.concatenate([images, brighter]))
    shutil.copy(digits_folder / "testingset.npy", tmp_path)
    found = kept_together(load_dataset(tmp_path, image_cache=tmp_path / "cache"))
    assert ("3", "100", "101") in found
    assert ("7", "102") in found
    assert [len(names) for names in found] == sorted(map(len, found), reverse=True)
