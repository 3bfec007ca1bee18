"""MVTec's layout as it is: who looks at the names of the folders in `test/`, and what they tell."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from ensemble_ad.blend.saved import latest_blend
from ensemble_ad.detect.scorer import load_blend
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import list_members


@pytest.fixture
def blended(run_ensad, parts, tmp_path):
    """The folder of studies with two trials of pca and their blend, `both`."""
    for command in ("tune --family pca --trials 2", "blend --name both"):
        result = run_ensad(*command.split())
        assert result.exit_code == 0, result.output
    return tmp_path / "studies"


def _mask(name):
    return name.replace(".png", "_mask.png")


def test_folders_names_are_labels_for_evaluate_and_audit(run_ensad, parts, blended):
    result = run_ensad("evaluate", "--labels", "data/test", "--json", "-q")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    assert (found["anomalies"], found["normal"]) == (60, 60)
    saved = latest_blend(blended)
    ids, scores = load_data_record(blended, saved.data).ids, saved.scores()
    kinds = {(row["name"], row["kind"]): row for row in found["kinds"]}
    assert len(kinds) == 2 * len(found["rows"])
    for kind in ("blot", "seven"):
        some = np.array([name.startswith((kind, "good")) for name in ids])
        label = np.array([name.startswith(kind) for name in ids])[some]
        row = kinds["both", kind]
        assert (row["auc"], row["images"]) == (pytest.approx(roc_auc_score(label, scores[some])), 30)
        assert row["auc_low"] < row["auc"] < row["auc_high"] or row["auc"] == 1
    pixels = found["pixels"]
    assert (pixels["masked"], pixels["good"], pixels["left_out"]) == (30, 60, 30)  # sevens have no masks
    rows = [(name, np.asarray(Image.open(parts / "test" / name))) for name in ids if not name.startswith("seven")]
    maps = load_blend("both", blended).explain(np.stack([image for _, image in rows]))
    masks = [
        np.zeros((32, 32)) if name.startswith("good") else np.asarray(Image.open(parts / "ground_truth" / _mask(name)))
        for name, _ in rows
    ]
    wanted = roc_auc_score(np.stack(masks).ravel() > 0, maps.ravel())
    assert pixels["auroc"] == pytest.approx(wanted, abs=1e-3)
    assert 0.5 < pixels["auroc"] < 1
    shown = run_ensad("evaluate", "--labels", "data/test")
    assert "pixels of 30 images with anomalous pixels and 60 without, by the maps of both: AUROC 0." in shown.stderr
    assert "both on\timages\tAUC\tlow\thigh\nblot\t30\t" in shown.stdout
    assert run_ensad("audit", "--labels", "data/test").exit_code == 0
    reported = run_ensad("report", "-o", "page.html", "--pictures", "0")
    assert reported.exit_code == 0, reported.output
    page = (parts.parent / "page.html").read_text(encoding="utf-8")
    assert "by the names of the folders in test, which the report does not read" in page
    for kind in ("blot", "seven"):
        row = kinds["both", kind]
        assert f'<th scope="row">{kind}</th><td class="n">30</td><td class="n">{row["auc"]:.3f}</td>' in page


def test_ground_truth_is_passed_over_and_files_are_named(run_ensad, parts):
    checked = json.loads(run_ensad("data", "check", "--json", "-q").stdout)["result"]
    assert (checked["training_images"], checked["test_images"]) == (200, 120)


def test_other_names_of_kinds_change_no_score(run_ensad, parts, blended, tmp_path):
    # In the same order, since the order of the images is part of what is drawn.
    for old, new in (("blot", "aaa"), ("good", "bad"), ("seven", "good")):
        shutil.move(parts / "test" / old, parts / "test" / new)
    for command in ("tune --family pca --trials 2 --studies other", "blend --name both --studies other"):
        assert run_ensad(*command.split()).exit_code == 0
    here, there = (list_members(place)[0] for place in (blended, tmp_path / "other"))
    assert [member.key for member in here] == [member.key for member in there]
    for one, other in zip(here, there, strict=True):
        for mine, theirs in zip(one.vectors(), other.vectors(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(latest_blend(blended).scores(), latest_blend(tmp_path / "other").scores())
