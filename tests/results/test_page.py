"""What a report says, held against computations of others; and what it says where something is missing."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import optuna
import pytest
import scipy.stats
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from ensemble_ad.blend.saved import load_blend
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import apply
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.store import list_members
from ensemble_ad.results.page import Sources, collect, render
from ensemble_ad.results.page.curves import curves
from ensemble_ad.results.page.searches import _importance
from ensemble_ad.results.page.svg import Axis
from ensemble_ad.results.page.tiles import FINENESS, data_uri, error_pixels
from ensemble_ad.training.step import to_input


@pytest.fixture(scope="module")
def label(digits_folder):
    return read_labels(digits_folder / "labels.csv", [str(i) for i in range(120)])


@pytest.fixture(scope="module")
def members(studies_folder):
    return {member.key: member for member in list_members(studies_folder)[0]}


@pytest.fixture(scope="module")
def contents(studies_folder, digits_folder):
    """A report of the blend `both` with labels."""
    sources = Sources(
        studies=studies_folder, data=digits_folder, labels=digits_folder / "labels.csv", pictures=3, device="cpu"
    )
    return collect(load_blend(studies_folder, "both"), sources)


@pytest.fixture(scope="module")
def main(members):
    """Each member's main column of the test images."""
    return {key: m.vectors()[1][:, m.columns.index(m.main_column)].astype(float) for key, m in members.items()}


def test_the_headline_is_the_blend_its_best_members_and_equal_weights(contents, label, studies_folder, members, main):
    blend = load_blend(studies_folder, "both")
    judged = {each.role: each for each in contents.headline.judged}
    assert contents.headline.judged[0].role == "blend"
    assert judged["blend"].value == pytest.approx(roc_auc_score(label, blend.scores()))
    chosen = max(members.values(), key=lambda m: m.info.separation.value)
    assert judged["chosen"].name == chosen.key
    assert judged["chosen"].value == pytest.approx(roc_auc_score(label, main[chosen.key]))
    best = max(roc_auc_score(label, column) for column in main.values())
    assert judged.get("hindsight", judged["chosen"]).value == pytest.approx(best)
    # The mean of the columns' ranks among reference and test images together; sums that tie may be rounded apart.
    columns = []
    for name in blend.weights:
        key, _, kind = name.partition("/")
        reference, test = (side[:, members[key].columns.index(kind)] for side in members[key].vectors())
        columns.append(scipy.stats.rankdata(np.concatenate([reference, test]))[len(reference) :])
    assert judged["equal"].value == pytest.approx(roc_auc_score(label, np.mean(columns, axis=0)), abs=5e-3)
    for role, each in judged.items():
        assert each.measured
        assert each.low < each.value < each.high
        if role != "blend":
            assert each.difference[0] == pytest.approx(judged["blend"].value - each.value)
            assert each.difference[1] <= each.difference[0] <= each.difference[2]


def test_the_curves_are_scikit_learns(contents, label, studies_folder):
    score = load_blend(studies_folder, "both").scores()
    roc, precision_recall = contents.curves.roc["blend"], contents.curves.precision_recall["blend"]
    false, true, _ = roc_curve(label, score, drop_intermediate=False)
    np.testing.assert_allclose(roc.x, false)
    np.testing.assert_allclose(roc.y, true)
    precision, recall, _ = precision_recall_curve(label, score)
    np.testing.assert_allclose(precision_recall.x, recall[::-1][1:])
    np.testing.assert_allclose(precision_recall.y, precision[::-1][1:])
    assert contents.curves.average_precision == pytest.approx(average_precision_score(label, score))
    assert contents.curves.anomaly_share == label.mean()
    assert set(contents.curves.roc) == set(contents.curves.precision_recall) >= {"blend", "equal"}


def test_scores_that_tie_are_one_step_of_a_curve(label, studies_folder):
    score = np.round(load_blend(studies_folder, "both").scores(), 1)
    assert len(np.unique(score)) < len(score) / 2
    found = curves(label, {"blend": score}, 0)
    false, true, _ = roc_curve(label, score, drop_intermediate=False)
    np.testing.assert_allclose(found.roc["blend"].x, false)
    np.testing.assert_allclose(found.roc["blend"].y, true)
    precision, recall, _ = precision_recall_curve(label, score)
    np.testing.assert_allclose(found.precision_recall["blend"].x, recall[::-1][1:])
    np.testing.assert_allclose(found.precision_recall["blend"].y, precision[::-1][1:])


def test_the_bands_are_those_of_a_stratified_bootstrap(contents, label, studies_folder):
    """Resampled image by image, by another generator, with scikit-learn's curves."""
    score = load_blend(studies_folder, "both").scores()
    rng = np.random.default_rng(7)
    # At lower recalls a precision is of so few images that one more false alarm moves it by the tolerance.
    grid, drawn, precisions = np.array([0.2, 0.4, 0.6]), [], []
    for _ in range(400):
        rows = np.concatenate([rng.choice(np.flatnonzero(label == side), (label == side).sum()) for side in (0, 1)])
        false, true, _ = roc_curve(label[rows], score[rows], drop_intermediate=False)
        drawn.append(np.interp(grid, false, true))
        precision, recall, _ = precision_recall_curve(label[rows], score[rows])
        precisions.append([precision[np.flatnonzero(recall >= r - 1e-12)[-1]] for r in grid])
    for curve, table in (
        (contents.curves.roc["blend"], np.array(drawn)),
        (contents.curves.precision_recall["blend"], np.array(precisions)),
    ):
        at = np.searchsorted(curve.grid, grid - 1e-9)
        low, high = np.quantile(table, [0.025, 0.975], axis=0)
        np.testing.assert_allclose(curve.low[at], low, atol=0.06)
        np.testing.assert_allclose(curve.high[at], high, atol=0.06)
        assert (curve.low <= curve.high).all()
        assert (curve.high - curve.low)[at].max() > 0.02


def test_a_histogram_holds_every_image_once(contents, label, studies_folder):
    histogram = contents.histogram
    score = load_blend(studies_folder, "both").scores()
    assert histogram.count == {"reference": 100, "test": 120, "normal": (label == 0).sum(), "anomaly": label.sum()}
    for name, group in (("test", score), ("normal", score[label == 0]), ("anomaly", score[label == 1])):
        expected = np.bincount(
            np.clip(np.searchsorted(histogram.edges, group, side="right") - 1, 0, len(histogram.edges) - 2),
            minlength=len(histogram.edges) - 1,
        )
        assert histogram.shares[name].sum() == pytest.approx(1)
        np.testing.assert_allclose(histogram.shares[name], expected / len(group), atol=1e-12)
        np.testing.assert_allclose(histogram.quantiles[name][2], np.median(group))


def test_weights_and_correlations_are_the_blends(contents, label, studies_folder, members, main):
    blend = load_blend(studies_folder, "both")
    assert {f"{w.key}/{w.kind}": w.weight for w in contents.weights} == blend.weights
    assert [w.weight for w in contents.weights] == sorted(blend.weights.values(), reverse=True)
    for w in contents.weights:
        reference, test = (side[:, members[w.key].columns.index(w.kind)] for side in members[w.key].vectors())
        side = np.repeat([0, 1], [len(reference), len(test)])
        assert w.separation == pytest.approx(roc_auc_score(side, np.concatenate([reference, test])))
        assert w.auc == pytest.approx(roc_auc_score(label, test))
    found = contents.correlations
    assert set(found.names) == {*members, "both"}
    assert found.names[-1] == "both"
    everything = [main.get(name, blend.scores()) for name in found.names]
    np.testing.assert_allclose(found.matrix, scipy.stats.spearmanr(np.column_stack(everything)).statistic, atol=1e-9)


def test_a_search_is_what_optuna_has(contents, studies_folder):
    assert [search.family for search in contents.searches] == ["fcn", "resnet"]
    url = f"sqlite:///{studies_folder / 'studies.db'}"
    for search in contents.searches:
        study = optuna.load_study(study_name=search.study, storage=url)
        assert [t.number for t in search.trials] == [t.number for t in study.trials]
        assert [t.values for t in search.trials] == [tuple(t.values) for t in study.trials]
        assert [t.parameters for t in search.trials] == [t.params for t in study.trials]
        for i in range(len(study.directions)):
            assert search.best_so_far(i).tolist() == np.maximum.accumulate([t.values[i] for t in study.trials]).tolist()
        for part in search.slices:
            assert len(set(part.values)) > 1
            assert list(part.objective) == [t.values[0] for t in study.trials if part.parameter in t.params]


def test_importance_is_optunas_and_finds_the_parameter_that_counts():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("counts", 0, 1) ** 2 + 0.01 * t.suggest_float("hardly", 0, 1), 30)
    found = _importance(study, 0)
    assert found == optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    assert next(iter(found)) == "counts"
    assert found["counts"] > 0.8
    both = optuna.create_study(directions=["maximize", "maximize"], sampler=optuna.samplers.RandomSampler(seed=0))
    both.optimize(lambda t: (t.suggest_float("first", 0, 1), t.suggest_float("second", 0, 1)), 20)
    assert _importance(both, 0)["first"] > 0.8


def test_the_pictures_are_the_ones_that_their_titles_say(contents, label, main, studies_folder):
    score = load_blend(studies_folder, "both").scores()
    shares = np.stack([scipy.stats.rankdata(column) for column in main.values()]) / len(score)
    wanted = {
        "most": np.argsort(-score),
        "least": np.argsort(score),
        "disputed": np.argsort(-shares.std(axis=0), kind="stable"),
        "false_positives": [i for i in np.argsort(-score) if label[i] == 0],
        "false_negatives": [i for i in np.argsort(score) if label[i] == 1],
    }
    assert list(contents.gallery.groups) == list(wanted)
    for group, shots in contents.gallery.groups.items():
        assert [shot.name for shot in shots] == [str(i) for i in wanted[group][:3]], group  # type: ignore[index]
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


def test_how_it_was_made_has_commands_that_are_real(contents, run_ensad):
    from click.testing import CliRunner

    from ensemble_ad.cli import main as ensad

    made = contents.making
    assert made.commands == (
        "ensad tune --family fcn --trials 2 --epochs 1 --max-width 128 --seed 0",
        "ensad tune --family resnet --trials 2 --epochs 1 --max-width 8 --seed 0",
        "ensad blend --members fcn,resnet --name both",
        "ensad report --blend both",
    )
    for command in made.commands:  # every option is one that the command has
        name, *arguments = command.split()[1:]
        ensad.commands[name].make_context(name, arguments)
    assert CliRunner().invoke(ensad, ["--help"]).exit_code == 0
    assert made.facts["Labels that its making used"] == "none"
    assert "labels.csv" in made.facts["Labels that this report used"]
    assert len(made.facts["Data fingerprint"]) == 32
    assert set(made.members["member"]) == set(contents.correlations.names[:-1])


def test_the_table_has_the_aucs_of_the_labels_that_were_named(contents, label, main, studies_folder):
    table = contents.table
    assert set(table.index) == {*main, "both"}
    assert table["auc"].is_monotonic_decreasing
    for name, row in table.iterrows():
        score = main.get(name, load_blend(studies_folder, "both").scores())
        assert row["auc"] == pytest.approx(roc_auc_score(label, score))
    assert table.iloc[0]["ties_best"]
    assert not (studies_folder / "evaluations").exists()  # a report stores nothing


# What the page has of it


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.images, self.headings, self.tags = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "img":
            self.images.append(values)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.links += [values[name] for name in ("src", "href", "action", "data", "poster") if values.get(name)]


@pytest.fixture(scope="module")
def text(contents):
    return render(contents)


def test_the_page_is_one_file_that_loads_nothing(text):
    page = _Page(text)
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not re.search(r"@import|url\(|https?://|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    assert len(text.encode()) < 5_000_000


def test_the_page_can_be_read_aloud(text):
    page = _Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.images
    assert all(image["alt"] for image in page.images)
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert all(v["aria-label"] for tag, v in page.tags if tag == "svg" and v.get("role") == "img")
    assert all("aria-hidden" in v or v.get("role") == "img" for tag, v in page.tags if tag == "svg")
    assert text.count("<table") == text.count("<caption")
    assert all("scope" in v for tag, v in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags


def test_the_page_shows_the_numbers_that_were_collected(contents, text):
    for judged in contents.headline.judged:
        assert f"{judged.value:.3f}" in text
        assert f"{judged.low:.3f} to {judged.high:.3f}" in text
    for name in contents.table.index:
        assert f'<th scope="row">{name}</th>' in text
    for w in contents.weights:
        assert f"{100 * w.weight:.1f}%" in text
    assert f"Average precision {contents.curves.average_precision:.3f}" in text
    for command in contents.making.commands:
        assert command in text
    assert text.count("decoded with 50% noise") == len(contents.latents)


def test_a_page_that_becomes_too_large_gets_smaller_pictures(contents, text):
    size = len(text.encode())
    assert len(render(contents, most=size).encode()) == size
    smaller = render(contents, most=1)
    assert smaller.count("<img") == text.count("<img")


def test_names_are_escaped(studies_folder, contents):
    from dataclasses import replace

    judged = tuple(replace(each, name=f"<i>{each.role}</i>") for each in contents.headline.judged)
    headline = replace(contents.headline, judged=judged)
    text = render(replace(contents, explanation="<script>alert(1)</script>", notes=("<b>x</b>",), headline=headline))
    assert not re.search("<script>alert|<b>x|<i>", text)
    assert "<code>&lt;i&gt;chosen&lt;/i&gt;</code>" in text


# What is missing


def _report(run_ensad, *arguments):
    result = run_ensad("report", "-q", *arguments)
    assert result.exit_code == 0, result.output
    from pathlib import Path

    return Path(result.stdout.strip()).read_text(encoding="utf-8"), result.stderr


def test_without_labels_every_auc_is_an_estimate_and_says_so(run_ensad, data, studies):
    text, _ = _report(run_ensad, "--pictures", 0, "--blend", "both")
    assert "none: every AUC on this page is an estimate" in text
    assert "AUC, estimated without labels" in text
    assert "measured" not in text.partition("<script>")[0].partition("<main")[2]
    assert "false positive rate" not in text
    assert "ROC" not in text
    assert "labels.csv" not in text


def test_labels_of_an_evaluation_are_used_again_if_they_are_the_same_file(run_ensad, data, studies):
    assert run_ensad("evaluate", "-q").exit_code == 0
    text, _ = _report(run_ensad, "--pictures", 0)
    assert re.search(r"as ensad evaluate read it: \d+ anomalies of 120 test images", text)
    assert "ROC curve" in text
    lines = (data / "labels.csv").read_text().splitlines()
    lines[1] = lines[1][:-1] + str(1 - int(lines[1][-1]))
    (data / "labels.csv").write_text("\n".join([*lines, ""]))
    text, _ = _report(run_ensad, "--pictures", 0)
    assert "that file is not there unchanged" in text
    assert "AUC, measured with labels" in text
    assert "ROC curve" not in text
    text, _ = _report(run_ensad, "--pictures", 0, "--labels", "data/labels.csv")
    assert "named with --labels" in text
    assert "ROC curve" in text


def test_without_the_images_there_are_no_pictures_and_the_page_says_why(run_ensad, data, studies, studies_folder):
    for record in (studies / "data").iterdir():  # the folder that the members were made from is gone too
        record.write_text(re.sub(r'"source": "[^"]*"', '"source": "/gone"', record.read_text()))
    shutil.rmtree(data)
    text, stderr = _report(run_ensad)
    assert "no pictures and latents: the data folder data does not exist" in text
    assert "no pictures and latents" in stderr
    assert "data:image" not in text
    data.mkdir()
    for name in ("trainingset.npy", "testingset.npy"):
        np.save(data / name, np.random.default_rng(0).integers(0, 256, (60, 16, 16, 1), dtype=np.uint8))
    text, _ = _report(run_ensad)
    assert "data holds other images than this blend was made of" in text


def test_without_the_studies_database_the_members_tell_of_the_trials(run_ensad, data, studies):
    (studies / "studies.db").unlink()
    text, stderr = _report(run_ensad, "--pictures", 0)
    assert "only finished trials are shown" in stderr
    assert "Of the cached members alone" in text
    assert not (studies / "studies.db").exists()
    (studies / "studies.db").write_bytes(b"not a database" * 100)
    text, stderr = _report(run_ensad, "--pictures", 0)
    assert "only finished trials are shown" in stderr
    assert "trial 1, complete" in text


@pytest.mark.slow
def test_members_without_a_model_without_a_reconstruction_and_transductive_ones(run_ensad, data, studies):
    run_ensad("import", "--template", "held.csv")
    rows = (data.parent / "held.csv").read_text().splitlines()[1:]
    (data.parent / "held.csv").write_text("ID,score\n" + "".join(f"{r}{i}\n" for i, r in enumerate(rows)))
    (data.parent / "test.csv").write_text("ID,score\n" + "".join(f"{i},{(7 * i) % 120}\n" for i in range(120)))
    assert run_ensad("import", "test.csv", "--reference", "held.csv", "--name", "knn").exit_code == 0
    for family in ("cutpaste", "contrast", "pca"):
        arguments = ("--trials", 1, "--epochs", 1, "--max-width", 8, "--device", "cpu", "--transductive")
        assert run_ensad("tune", "--family", family, *arguments).exit_code == 0
    assert run_ensad("blend", "--members", "knn,cutpaste,contrast,pca,fcn:1", "--name", "mixed").exit_code == 0
    text, stderr = _report(run_ensad, "--pictures", 2)
    assert stderr == ""
    assert "A member was trained on the unlabelled test images too." in text
    assert text.count("score only</i>") >= 2 * 2  # of cutpaste and contrast
    assert "pca&#39;s reconstruction of" in text
    assert 'data-family="knn"' not in text
    assert "ensad import scores.csv --reference held_out.csv --name knn" in text
    assert "--transductive" in text


def test_a_damaged_model_costs_its_pictures_and_no_more(run_ensad, data, studies):
    member = next(m for m in list_members(studies)[0] if m.family == "fcn")
    for each in list_members(studies)[0]:
        if each.family == "fcn":
            (each.folder / "weights.safetensors").write_bytes(b"damaged")
    text, stderr = _report(run_ensad, "--pictures", 1)
    assert "no pictures of fcn" in stderr
    assert "resnet&#39;s reconstruction" in text
    (member.folder / "vectors.npz").write_bytes(b"damaged")
    result = run_ensad("report")
    assert result.exit_code == 4
    assert "is damaged" in result.stderr


def test_no_blend_an_unknown_blend_and_wrong_labels_are_clear_errors(run_ensad, data, studies):
    result = run_ensad("report", "--studies", "empty")
    assert (result.exit_code, "run `ensad blend" in result.stderr) == (2, True)
    result = run_ensad("report", "--blend", "nope")
    assert (result.exit_code, "the blends in studies are both" in result.stderr) == (2, True)
    (data / "few.csv").write_text("ID,label\n0,1\n1,0\n")
    result = run_ensad("report", "--labels", "data/few.csv", "--pictures", 0)
    assert (result.exit_code, "118 missing" in result.stderr) == (3, True)
    result = run_ensad("report", "--pictures", 0, "-o", "studies/studies.db/x.html")
    assert result.exit_code == 4
    assert len(result.stderr.strip().splitlines()) == 1


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


# Drawing


@pytest.mark.parametrize(
    ("low", "high", "log", "texts"),
    [
        (0.0, 1.0, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.0, 10.0, False, ["0", "2", "4", "6", "8", "10"]),
        (0.641, 0.683, False, ["0.65", "0.66", "0.67", "0.68"]),
        (1e-4, 1e-2, True, ["0.0001", "0.001", "0.01"]),
        (3e-4, 4e-3, True, ["0.0003", "0.001", "0.003"]),
        (0.0, 12000.0, False, ["0", "2,500", "5,000", "7,500", "10,000"]),
    ],
)
def test_an_axis_has_round_ticks(low, high, log, texts):
    ticks = Axis(low=low, high=high, label="", log=log).ticks()
    assert [text for _, text in ticks] == texts
    assert all(low - 1e-9 <= value <= high + 1e-9 for value, _ in ticks)
    assert all(float(text.replace(",", "")) == pytest.approx(value, abs=1e-9) for value, text in ticks)


def test_an_axis_of_trials_has_whole_numbers():
    for high in (0.5, 2.5, 7.5, 40.5):
        ticks = Axis(low=-0.5, high=high, label="", whole=True).ticks()
        assert ticks
        assert all(value == int(value) and text == str(int(value)) for value, text in ticks)


def test_an_error_map_grows_brighter_with_the_error():
    colours = error_pixels(np.linspace(0, 120, 50)[None], 100.0)[0].astype(float)
    luma = colours @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luma)[:40] > 0).all()
    assert luma[0] < 3
    assert (colours[-1] == colours[-5]).all()
    assert (error_pixels(np.zeros((2, 2)), 0.0) == error_pixels(np.zeros((2, 2)), 1.0)).all()


def test_a_coarser_picture_takes_less(photos):
    picture = photos(1, 128, 3)[0]
    sizes = [len(data_uri(picture, fineness)) for fineness in FINENESS]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]
    # 24 pictures in each of five groups, of all nine families that reconstruct, and their latents.
    tiles = 24 * 5 * (1 + 2 * 9) + 9 * 2 * (2 + 3 + 9)
    assert tiles * sizes[2] < 4_000_000


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_keep_every_pixel_and_large_ones_are_shrunk(photos, channels):
    import base64
    import io

    from PIL import Image

    for side, shown in ((32, 32), (128, 96)):
        pixels = photos(1, side, 3)[0][..., :channels]
        uri = data_uri(pixels)
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as opened:
            assert opened.size == (shown, shown)
            if side == 32:
                expected = pixels if channels == 3 else np.repeat(pixels, 3, axis=2)
                np.testing.assert_array_equal(np.asarray(opened.convert("RGB")), expected)
