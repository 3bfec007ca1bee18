"""A blend goes to another machine as one file, whole, verified, and nothing else comes with it."""

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import ensemble_ad as ea
from ensemble_ad.blend.exported import export_blend
from ensemble_ad.blend.imported import import_blend
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.errors import StorageError


def _content(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["both.zip", "folder"])
def test_a_blend_scores_on_a_machine_without_the_data(run_ensad, studies, tmp_path, digits_folder, away, name):
    result = run_ensad("export", "both", "-o", name)
    assert (result.exit_code, result.stdout) == (0, f"{name}\n"), result.output
    images = np.load(digits_folder / "testingset.npy")
    wanted = ea.load_blend("both", studies, device="cpu").score(images)
    shutil.rmtree(studies)
    result = run_ensad("import", name, "--studies", away)
    assert (result.exit_code, result.stdout) == (0, "both\n"), result.output
    np.testing.assert_array_equal(ea.load_blend("both", away, device="cpu").score(images), wanted)
    result = run_ensad("score", digits_folder / "testingset.npy", "--blend", "both", "--studies", away)
    assert result.exit_code == 0
    assert run_ensad("compare", "--studies", away).exit_code == 0
    assert run_ensad("submit", "--studies", away).exit_code == 0


def test_all_comes_back_as_it_was_and_again_changes_nothing(exported, studies_folder, away):
    blend = import_blend(away, exported)
    for name, content in _files(away).items():
        assert (studies_folder / name).read_bytes() == content, name
    assert {path.parent.name for path in away.glob("members/*/*")} == set(blend.info.members)
    before = _files(away)
    assert import_blend(away, exported).info == blend.info
    assert _files(away) == before
    assert not [path for path in away.iterdir() if path.name.startswith(".")]


def test_the_archive_holds_no_pickle_and_no_images(exported, digits_folder):
    content = _content(exported)
    for name, value in content.items():
        if name.endswith(".npz"):
            with np.load(io.BytesIO(value), allow_pickle=False) as file:
                assert all(array.dtype != object for array in file.values())
    assert {Path(name).suffix for name in content} == {".json", ".npz", ".safetensors"}
    image = np.load(digits_folder / "testingset.npy")[0].tobytes()
    assert not any(image in value for value in content.values())


def test_without_a_name_the_latest_blend_is_exported_beside(run_ensad, studies, tmp_path):
    assert run_ensad("export").stdout == "both.zip\n"
    assert (tmp_path / "both.zip").exists()


@pytest.mark.parametrize("target", ["both.zip", "folder"])
def test_an_export_overwrites_nothing(run_ensad, studies, tmp_path, target):
    (tmp_path / target).write_text("mine")
    result = run_ensad("export", "both", "-o", target)
    assert (result.exit_code, result.stdout) == (2, "")
    assert (tmp_path / target).read_text() == "mine"


def test_a_damaged_member_is_not_exported(studies, tmp_path):
    blend = load_blend(studies, "both")
    path = studies / "members" / blend.info.members[0] / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match="is damaged"):
        export_blend(studies, blend, tmp_path / "both.zip")
    assert not (tmp_path / "both.zip").exists()


# What is no archive, or one that someone has been at


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("import", "none.zip"), 3, "the archive none.zip does not exist"),
        (("import", "text.zip"), 3, "must be a zip or folder that `ensad export` wrote"),
        (("import", "studies"), 3, "must hold plain files only"),
        (("import", "text.zip", "--reference", "text.zip"), 2, "--reference goes with a .csv file of scores"),
        (("export", "none"), 2, "unknown blend 'none'"),
        (("export", "../x"), 2, "a blend's name must be"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage_gets_one_line_and_its_exit_code(run_ensad, studies, tmp_path, arguments, code, said):
    (tmp_path / "text.zip").write_text("no zip")
    before = _files(tmp_path)
    result = run_ensad(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1), result.output
    assert said in result.stderr
    assert _files(tmp_path) == before


@pytest.mark.parametrize("name", ["both.zip", "folder"])
@pytest.mark.parametrize("date", [0, 315_000_000, 4_400_000_000, 9e9], ids=["1970", "1979", "2109", "2255"])
def test_files_of_any_date_are_exported(studies, tmp_path, away, name, date):
    for path in studies.rglob("*"):
        os.utime(path, (date, date))
    import_blend(away, export_blend(studies, load_blend(studies, "both"), tmp_path / name))


def test_more_files_than_an_archive_may_hold_are_not_exported(studies, tmp_path, monkeypatch):
    monkeypatch.setattr("ensemble_ad.blend.exported.MOST_FILES", 15)
    with pytest.raises(StorageError, match="an archive may hold 15 files, and both with its 4 members has more"):
        export_blend(studies, load_blend(studies, "both"), tmp_path / "both.zip")
    assert not (tmp_path / "both.zip").exists()
    monkeypatch.setattr("ensemble_ad.blend.exported.MOST_FILES", 16)
    export_blend(studies, load_blend(studies, "both"), tmp_path / "both.zip")
