"""Members on their way: through a folder or an S3 bucket, and what is no member."""

import json
import os
import shutil
import sqlite3
import zipfile
from dataclasses import replace

import optuna
import pytest

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.search.artifacts import Artifacts
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.storage import open_storage
from ensemble_ad.search.travel import pull, push
from ensemble_ad.search.tune import tune

SECRET = "hunter2-not-to-be-seen"


def test_members_travel_through_s3_and_are_not_made_again(s3, postgres, dataset, tmp_path, log):
    url = postgres()
    settings = TuneSettings(
        family="fcn", trials=2, epochs=1, max_width=128, size=16, device="cpu", storage=url, artifacts=s3
    )
    tune(dataset, settings, studies=tmp_path / "one", watcher=log)
    backend = open_storage(tmp_path, url).backend
    (study_name,) = optuna.get_all_study_names(backend)
    study = optuna.load_study(study_name=study_name, storage=backend)
    done = study.trials[0]
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING, params=done.params, distributions=done.distributions,
            user_attrs={"place": 2},
        )
    )  # fmt: skip
    tune(dataset, replace(settings, trials=3), studies=tmp_path / "two", watcher=log)
    assert (2, "cached") in [line[:2] for line in log.lines]
    fetched, problems, unsent = pull(Artifacts(s3), backend, tmp_path / "three")
    assert (len(fetched), problems, unsent) == (2, [], [])
    for member in list_members(tmp_path / "three")[0]:
        assert member.info == load_member(tmp_path / "one", member.key).info


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"not a zip"),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: _add(path, "../evil.txt"),
        lambda path: _add(path, "/tmp/evil.txt"),
        lambda path: path.write_bytes(bytes(b ^ 1 if i == 20_000 else b for i, b in enumerate(path.read_bytes()))),
        lambda path: _deflate_wrongly(path),
    ],
    ids=["foreign", "cut off", "traversal", "absolute", "a flipped bit", "damaged where it is compressed"],
)
def test_an_artifact_that_is_no_member_is_named_and_leaves_nothing(dataset, tmp_path, spoil, log):
    store = tmp_path / "store"
    settings = TuneSettings(
        family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu", artifacts=f"file://{store}"
    )
    tune(dataset, settings, studies=tmp_path / "one", watcher=log)
    (packed,) = store.iterdir()
    spoil(packed)
    backend = open_storage(tmp_path / "one", None).backend
    fetched, (problem,), _ = pull(Artifacts(f"file://{store}"), backend, tmp_path / "two")
    assert fetched == []
    assert "is not a member" in problem
    assert list((tmp_path / "two").rglob("*")) == []
    packed.unlink()
    assert "is not" in pull(Artifacts(f"file://{store}"), backend, tmp_path / "two")[1][0]


def _add(path, name):
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, "x")


def _deflate_wrongly(path):
    """The same files compressed, of which one has a block of a type that there is not."""
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in content.items():
            file.writestr(name, value)
        place = file.infolist()[0].header_offset + 30 + len(file.namelist()[0])
    whole = bytearray(path.read_bytes())
    whole[place] = 0xFF
    path.write_bytes(whole)


def _rewrite(path, **changes):
    """Other contents of a packed member: a function of its JSON for each name that stands for a file."""
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, value in content.items():
            change = changes.get(name.partition(".")[0])
            file.writestr(name, json.dumps(change(json.loads(value))) if change else value)


def _of_data(fingerprint):
    return {
        "member": lambda m: {**m, "recipe": {**m["recipe"], "data": fingerprint}},
        "data": lambda m: {**m, "fingerprint": fingerprint},
    }


CRAFTED = {
    "a fingerprint that is a path": _of_data("{victim}"),
    "a fingerprint that leads upwards": _of_data("../../victim/settings"),
    "a fingerprint with a NUL": _of_data("ab" * 16 + "\0"),
    "a very long fingerprint": _of_data("x" * 5000),
    "a key that is a path": {"member": lambda m: {**m, "key": "../../victim/settings"}},
    "another family": {"member": lambda m: {**m, "recipe": {**m["recipe"], "family": "../fcn"}}},
    "fewer ids": {"data": lambda m: {**m, "ids": m["ids"][:-1]}},
    "more held-out images": {"data": lambda m: {**m, "n_reference": m["n_reference"] + 1}},
    "images of 4000 pixels": {"data": lambda m: {**m, "shape": [4000, 4000, 3]}},
    "a value of 1e308": {"member": lambda m: {**m, "objective": {**m["objective"], "value": 1e308}}},
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_artifact_is_named_and_nothing_is_written(dataset, tmp_path, kind, log):
    store, victim = tmp_path / "store", tmp_path / "victim" / "settings.json"
    victim.parent.mkdir()
    victim.write_text("mine")
    settings = TuneSettings(
        family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu", artifacts=f"file://{store}"
    )
    tune(dataset, settings, studies=tmp_path / "one", watcher=log)
    (packed,) = store.iterdir()
    _rewrite(packed, **CRAFTED[kind])
    packed.write_bytes(packed.read_bytes().replace(b"{victim}", str(victim.with_suffix("")).encode()))
    backend = open_storage(tmp_path / "one", None).backend
    fetched, (problem,), _ = pull(Artifacts(f"file://{store}"), backend, tmp_path / "two")
    assert fetched == []
    assert "is not a member" in problem
    assert len(problem) < 600
    assert list((tmp_path / "two").rglob("*")) == []
    assert victim.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"store", "victim", "one", "two"}


def test_a_member_of_any_date_travels(dataset, tmp_path, log):
    store = tmp_path / "store"
    settings = TuneSettings(family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu")
    tune(dataset, settings, studies=tmp_path / "one", watcher=log)
    (member,) = list_members(tmp_path / "one")[0]
    for number, path in enumerate(path for path in (tmp_path / "one").rglob("*") if path.is_file()):
        os.utime(path, (0, 0) if number % 2 else (9e9, 9e9))  # 1970 and 2255
    backend = open_storage(tmp_path / "one", None).backend
    (name,) = optuna.get_all_study_names(backend)
    study = optuna.load_study(study_name=name, storage=backend)
    store.mkdir()
    trial = study.ask()
    push(Artifacts(f"file://{store}"), trial, member, tmp_path / "one")
    study.tell(trial, [0.5] * len(study.directions))
    fetched, problems, _ = pull(Artifacts(f"file://{store}"), backend, tmp_path / "two")
    assert (fetched, problems) == ([member.key], [])


@pytest.mark.parametrize("url", ["s3://", "ftp://x/y", "store", f"s3://me:{SECRET}@bucket", "file://host/x"])
def test_an_artifact_store_must_be_a_folder_or_a_bucket(url):
    with pytest.raises(UsageError, match="--artifacts must be file:///FOLDER or s3://BUCKET") as caught:
        Artifacts(url)
    assert SECRET not in str(caught.value)


def test_a_bucket_that_is_not_there_stops_a_study_before_it_trains(s3, dataset, tmp_path, log):
    settings = TuneSettings(
        family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu", artifacts="s3://nowhere"
    )
    with pytest.raises(StorageError, match="the store named by --artifacts") as caught:
        tune(dataset, settings, studies=tmp_path, watcher=log)
    assert SECRET not in str(caught.value)
    assert log.lines == []


TUNED = ("--family", "fcn", "--epochs", 1, "--max-width", 128, "--device", "cpu", "--size", 16)


@pytest.fixture
def sent(run_ensad, data, tmp_path):
    """A study of one trial whose member was uploaded; gives the options of `pull`, and the artifact."""
    storage, store = f"sqlite:///{tmp_path / 'x.db'}", tmp_path / "store"
    done = run_ensad("tune", *TUNED, "--trials", 1, "--storage", storage, "--artifacts", f"file://{store}")
    assert done.exit_code == 0, done.output
    (packed,) = store.iterdir()
    return ["--storage", storage, "--artifacts", f"file://{store}", "--studies", "away"], packed


def test_pull_from_a_store_that_is_not_there_is_an_error(run_ensad, sent, s3, tmp_path):
    options, _ = sent
    for store in ("s3://nowhere", f"file://{tmp_path / 'nowhere'}"):
        result = run_ensad("pull", *options[:3], store, *options[4:])
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (4, "", 1), result.output
        assert "the store named by --artifacts" in result.stderr
        assert not (tmp_path / "nowhere").exists()
        assert not (tmp_path / "away").exists()


def test_pull_from_a_missing_storage_is_an_error_and_makes_none(run_ensad, sent, postgres, tmp_path):
    options, _ = sent
    for storage in (f"sqlite:///{tmp_path / 'nowhere.db'}", postgres()):
        result = run_ensad("pull", "--storage", storage, *options[2:])
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (4, "", 1), result.output
        assert "holds no study" in result.stderr
    assert not (tmp_path / "nowhere.db").exists()


def test_pull_fetches_what_is_there_and_fails_for_what_is_not(run_ensad, sent, tmp_path):
    options, packed = sent
    assert run_ensad("tune", *TUNED, "--trials", 2, *options[:4]).exit_code == 0
    packed.unlink()
    result = run_ensad("pull", *options)
    assert (result.exit_code, result.stdout.count("\n")) == (4, 1), result.output
    assert "was to be in the artifact store, and is not" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: 1 members could not be fetched")
    assert [member.key for member in list_members(tmp_path / "away")[0]] == [result.stdout.strip()]


def test_pull_says_which_members_were_never_sent(run_ensad, sent):
    options, _ = sent
    assert run_ensad("tune", *TUNED, "--trials", 2, *options[:2]).exit_code == 0
    result = run_ensad("pull", *options)
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1), result.output
    assert "1 members that other machines have made were not uploaded (fcn-" in result.stderr


def _note_artifact(file, text=None, **changes):
    """Change what the study says of its artifact."""
    with sqlite3.connect(file) as database:
        ((number, value),) = database.execute(
            "SELECT trial_system_attribute_id, value_json FROM trial_system_attributes WHERE key LIKE 'artifacts:%'"
        ).fetchall()
        told = json.dumps({**json.loads(json.loads(value)), **changes}) if text is None else text
        database.execute(
            "UPDATE trial_system_attributes SET value_json = ? WHERE trial_system_attribute_id = ?",
            (json.dumps(told), number),
        )
    database.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"artifact_id": "../secret"}, {"artifact_id": "/etc/hostname"}, {"artifact_id": 5}, {"artifact_id": ""},
        {"filename": 5}, {"text": "[]"}, {"text": "none"},
    ],
    ids=str,
)  # fmt: skip
def test_a_storage_that_others_write_to_names_no_other_file(run_ensad, sent, tmp_path, changes):
    options, packed = sent
    shutil.copy(packed, tmp_path / "secret")
    _note_artifact(tmp_path / "x.db", **changes)
    result = run_ensad("pull", *options)
    assert (result.exit_code, result.stdout) == (4, ""), result.output
    assert list((tmp_path / "away").rglob("*.json")) == []


def test_a_pipe_in_the_place_of_an_artifact_is_not_waited_for(run_ensad, sent):
    options, packed = sent
    packed.unlink()
    os.mkfifo(packed)
    assert run_ensad("pull", *options).exit_code == 4


@pytest.mark.parametrize("name", ["a?b", "a#b", "a b", "日本", "50%"])
def test_a_store_may_have_any_name(run_ensad, data, tmp_path, name):
    plain, encoded = f"file://{tmp_path / name}", (tmp_path / name).as_uri()
    Artifacts(plain).check(make=True)
    assert (tmp_path / name).is_dir()
    Artifacts(encoded).check()
    (tmp_path / name).rmdir()
    Artifacts(encoded).check(make=True)
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == [name]
