"""Another detector's scores become a member that blends and the table find."""

import csv

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import ensemble_ad as ea
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.split import split_rows
from ensemble_ad.members.imported import is_imported, reference_ids
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.statistics import midranks, separation


@pytest.fixture
def knn(data, run_ensad, tmp_path):
    """Scores of a nearest-neighbour detector, `knn.csv` and `held_out.csv`, made as the help says; their values."""
    result = run_ensad("import", "--template", "held_out.csv")
    assert (result.exit_code, result.stdout) == (0, "held_out.csv\n"), result.output
    with (tmp_path / "held_out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["score"] for row in rows} == {""}
    held_out = [int(row["ID"]) for row in rows]
    train, test = (np.load(data / name).reshape(-1, 32 * 32) / 255 for name in ("trainingset.npy", "testingset.npy"))
    index = NearestNeighbors(n_neighbors=5).fit(np.delete(train, held_out, axis=0))
    values = {}
    for name, ids, images in (("held_out.csv", held_out, train[held_out]), ("knn.csv", range(len(test)), test)):
        scores = index.kneighbors(images)[0].mean(axis=1)
        text = "".join(f"{i},{score!r}\n" for i, score in zip(ids, scores.tolist(), strict=True))
        (tmp_path / name).write_text("ID,score\n" + text)
        values[name] = scores.astype(np.float32)
    return values


IMPORT = ("import", "knn.csv", "--reference", "held_out.csv", "--name", "knn")


def test_the_template_holds_the_rows_that_every_member_holds_out(data, run_ensad, tmp_path):
    dataset = load_dataset(data, image_cache=tmp_path)
    rows = split_rows(len(dataset.train), dataset.fingerprint).reference
    assert reference_ids(dataset) == [str(row) for row in rows]


def test_imported_scores_are_found_by_blend_and_compare(knn, studies, run_ensad):
    result = run_ensad(*IMPORT)
    assert result.exit_code == 0, result.output
    key = result.stdout.strip()
    member = load_member(studies, key)
    assert is_imported(member)
    assert not is_imported(list_members(studies)[0][0])
    reference, test = member.vectors()
    np.testing.assert_array_equal(reference[:, 0], knn["held_out.csv"])
    np.testing.assert_array_equal(test[:, 0], knn["knn.csv"])
    assert run_ensad("blend", "--members", "knn,fcn", "--name", "with_knn").exit_code == 0
    table = ea.comparison(studies)
    row = table.loc[key]
    assert (row["family"], row["source"], row["labels_used"]) == ("knn", "imported", "unknown")
    assert row["weight"] > 0
    assert row["separation"] == pytest.approx(ea.separation(reference[:, 0], test[:, 0]).value)
    assert table.loc["with_knn", "labels_used"] == "unknown"
    assert "imported" in run_ensad("compare").stdout
    assert run_ensad("evaluate", "--labels", "data/labels.csv").exit_code == 0
    assert run_ensad("submit", "--blend", "with_knn").exit_code == 0


def test_it_works_before_any_study(knn, data, run_ensad, tmp_path):
    assert run_ensad(*IMPORT, "--labels-used", "none").exit_code == 0
    result = run_ensad("blend", "--members", "knn", "--name", "alone")
    assert result.exit_code == 0, result.output
    table = ea.comparison(tmp_path / "studies")
    assert set(table["labels_used"]) == {"none"}
    assert np.isfinite(table.loc["alone", "separation"])  # type: ignore[arg-type]


def test_the_same_scores_are_the_same_member_and_others_another(knn, studies, run_ensad, tmp_path):
    first = run_ensad(*IMPORT).stdout
    assert run_ensad(*IMPORT).stdout == first
    assert run_ensad(*IMPORT, "--labels-used", "none").stdout != first
    text = (tmp_path / "knn.csv").read_text().splitlines()
    (tmp_path / "knn.csv").write_text("\n".join([text[0], *reversed(text[1:])]) + "\n")
    assert run_ensad(*IMPORT).stdout == first
    (tmp_path / "knn.csv").write_text("\n".join([*text[:-1], "119,0.5"]) + "\n")
    assert run_ensad(*IMPORT).stdout != first


def test_scores_of_all_training_images_may_be_given(knn, studies, run_ensad, tmp_path):
    key = run_ensad(*IMPORT).stdout
    missing = set(range(200)) - {int(i) for i in reference_ids(load_dataset(tmp_path / "data", image_cache=tmp_path))}
    with (tmp_path / "held_out.csv").open("a") as file:
        file.writelines(f"{i},0\n" for i in missing)
    assert run_ensad(*IMPORT).stdout == key


def test_a_blend_with_it_does_not_score_new_images_and_says_so(knn, studies, data, run_ensad):
    run_ensad(*IMPORT)
    run_ensad("blend", "--members", "knn,fcn", "--name", "with_knn")
    result = run_ensad("score", data / "testingset.npy", "--blend", "with_knn")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "was imported as scores and has no model to score new images with" in result.stderr
    # Where it has no weight it is not needed.
    run_ensad("blend", "--members", "knn,fcn", "--weights", "0,1", "--name", "without")
    assert run_ensad("score", data / "testingset.npy", "--blend", "without").exit_code == 0


def _broken(text: str, change: str) -> str:
    lines = text.splitlines()
    return {
        "missing": "\n".join(lines[:-2]),
        "unknown": text + "x,1\n",
        "twice": text + lines[-1] + "\n",
        "words": "\n".join([*lines[:-1], lines[-1].split(",")[0] + ",high"]),
        "nan": "\n".join([*lines[:-1], lines[-1].split(",")[0] + ",nan"]),
        "too large": "\n".join([*lines[:-1], lines[-1].split(",")[0] + ",1e999"]),
        "empty": "",
        "no column": text.replace("score", "value"),
    }[change]


@pytest.mark.parametrize("file", ["knn.csv", "held_out.csv"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "lacks 2 ("),
        ("unknown", "has 1 unknown ids ('x')"),
        ("twice", "must name each id once"),
        ("words", "a score must be a finite number, but the one of"),
        ("nan", "is 'nan'"),
        ("too large", "is '1e999'"),
        ("empty", "but is empty"),
        ("no column", "must have the columns ID,score"),
    ],
)
def test_bad_scores_are_refused(knn, studies, run_ensad, tmp_path, file, change, said):
    (tmp_path / file).write_text(_broken((tmp_path / file).read_text(), change))
    before = sorted((tmp_path / "studies").rglob("*"))
    result = run_ensad(*IMPORT)
    assert (result.exit_code, result.stdout) == (3, ""), result.output
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert sorted((tmp_path / "studies").rglob("*")) == before


def test_scores_that_rank_nothing_are_refused(knn, studies, run_ensad, tmp_path):
    (tmp_path / "knn.csv").write_text("ID,score\n" + "".join(f"{i},1\n" for i in range(120)))
    result = run_ensad(*IMPORT)
    assert result.exit_code == 3
    assert "gives every image the score 1.0, which ranks nothing" in result.stderr


def test_the_score_of_a_single_test_image_need_not_differ_from_others(data, run_ensad, tmp_path):
    np.save(data / "testingset.npy", np.load(data / "testingset.npy")[:1])
    assert run_ensad("import", "--template", "held_out.csv").exit_code == 0
    _, *rows = (tmp_path / "held_out.csv").read_text().split()
    (tmp_path / "held_out.csv").write_text("ID,score\n" + "".join(f"{row}{i}\n" for i, row in enumerate(rows)))
    (tmp_path / "knn.csv").write_text("ID,score\n0,0.5\n")
    result = run_ensad(*IMPORT)
    assert result.exit_code == 0, result.output
    assert load_member(tmp_path / "studies", result.stdout.strip()).vectors()[1].tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("import",), 2, "SOURCE is missing"),
        (("import", "knn.csv", "--name", "knn"), 2, "scores need --name and --reference"),
        (("import", "knn.csv", "--reference", "held_out.csv"), 2, "scores need --name and --reference"),
        ((*IMPORT[:-1], "fcn"), 2, "--name must not be a family's, and fcn is one"),
        ((*IMPORT[:-1], "K NN"), 2, "--name must be lower-case letters"),
        ((*IMPORT[:-1], "../x"), 2, "--name must be lower-case letters"),
        ((*IMPORT, "--data", "none"), 3, "the data folder none does not exist"),
        (("import", "none.csv", *IMPORT[2:]), 3, "the file none.csv does not exist"),
        (("import", "knn.csv", "--template", "a.csv"), 2, "--template goes without a SOURCE"),
        (("import", "--template", "held_out.csv"), 2, "held_out.csv exists already"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_refused(knn, studies, run_ensad, tmp_path, arguments, code, said):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run_ensad(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert said in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_ids_of_folders_are_paths(knn, run_ensad, tmp_path, photos):
    from PIL import Image

    for folder, n in (("train", 60), ("test", 5)):
        (tmp_path / "pictures" / folder / "a").mkdir(parents=True)
        for i, image in enumerate(photos(n, 32, 1)):
            Image.fromarray(np.roll(image[..., 0], i, axis=0)).save(tmp_path / "pictures" / folder / "a" / f"{i}.png")
    assert run_ensad("import", "--template", "pictures.csv", "--data", "pictures").exit_code == 0
    lines = (tmp_path / "pictures.csv").read_text().splitlines()
    assert lines[0] == "ID,score"
    assert all(line.startswith("a/") and line.endswith(".png,") for line in lines[1:])


def _rewrite(path, change):
    header, *rows = path.read_text().splitlines()
    lines = (f"{name},{change(float(value))!r}" for name, value in (row.split(",") for row in rows))
    path.write_text("\n".join([header, *lines]) + "\n")


def _turn(tmp_path, change):
    for name in ("knn.csv", "held_out.csv"):
        _rewrite(tmp_path / name, change)


def test_scores_upside_down_are_warned_of_and_turned(knn, studies, run_ensad, tmp_path):
    upright = load_member(studies, run_ensad(*IMPORT).stdout.strip())
    _turn(tmp_path, lambda value: -value)
    result = run_ensad(*IMPORT)
    assert result.exit_code == 0
    assert "warning: the scores seem to be upside down" in result.stderr
    assert "import them with --invert if low scores mean anomalies" in result.stderr
    result = run_ensad(*IMPORT, "--invert")
    assert (result.exit_code, "warning" in result.stderr) == (0, False), result.output
    turned = load_member(studies, result.stdout.strip())
    assert turned.key != upright.key
    for one, other in zip(turned.vectors(), upright.vectors(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert ea.comparison(studies).loc[turned.key, "source"] == "imported, inverted"
    assert is_imported(turned)
    assert run_ensad(*IMPORT, "--invert").stdout.strip() == turned.key
    _turn(tmp_path, lambda value: -value)
    result = run_ensad(*IMPORT, "--invert")
    assert "seem to be upside down" in result.stderr
    assert "leave --invert out" in result.stderr


def test_scores_that_say_little_are_not_warned_of(knn, studies, run_ensad, tmp_path):
    rng = np.random.default_rng(0)
    _turn(tmp_path, lambda value: float(rng.normal()))
    assert "upside down" not in run_ensad(*IMPORT).stderr


@pytest.mark.parametrize(
    "change",
    [lambda value: 1e6 + value * 1e-3, lambda value: value * 1e300, lambda value: value * 1e-300],
    ids=["far from 0", "huge", "tiny"],
)
def test_differences_that_32_bits_would_lose_are_kept(knn, studies, run_ensad, tmp_path, change):
    _turn(tmp_path, change)
    result = run_ensad(*IMPORT)
    assert result.exit_code == 0, result.output
    assert "the scores were shifted, since 32 bits would not tell all of them apart as they are" in result.stderr
    member = load_member(studies, result.stdout.strip())
    np.testing.assert_array_equal(midranks(member.vectors()[1].T), midranks(knn["knn.csv"][None]))
    assert member.value == pytest.approx(separation(knn["held_out.csv"], knn["knn.csv"]).value)
    assert run_ensad("blend", "--members", "knn,fcn", "--name", "with_knn").exit_code == 0
    assert run_ensad("export", "with_knn").exit_code == 0
    assert run_ensad("import", "with_knn.zip", "--studies", "away").exit_code == 0


def test_only_scores_are_turned(studies, run_ensad):
    result = run_ensad("import", "both.zip", "--invert")
    assert (result.exit_code, result.stderr) == (2, "Error: --invert goes with a .csv file of scores\n")
