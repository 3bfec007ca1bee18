"""Members on their way: through a folder or an S3 bucket, and what is no member."""

import zipfile
from dataclasses import replace

import optuna
import pytest

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.storage import open_storage
from ensemble_ad.search.travel import Artifacts
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
    fetched, problems = Artifacts(s3).pull(backend, tmp_path / "three")
    assert (len(fetched), problems) == (2, [])
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
    ],
    ids=["foreign", "cut off", "traversal", "absolute", "a flipped bit"],
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
    fetched, (problem,) = Artifacts(f"file://{store}").pull(backend, tmp_path / "two")
    assert fetched == []
    assert "is not a member" in problem
    assert list((tmp_path / "two").rglob("*")) == []
    packed.unlink()
    assert "is not" in Artifacts(f"file://{store}").pull(backend, tmp_path / "two")[1][0]


def _add(path, name):
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, "x")


@pytest.mark.parametrize("url", ["s3://", "ftp://x/y", "store", f"s3://me:{SECRET}@bucket", "file://host/x"])
def test_an_artifact_store_must_be_a_folder_or_a_bucket(url):
    with pytest.raises(UsageError, match="--artifacts must be file:///FOLDER or s3://BUCKET") as caught:
        Artifacts(url)
    assert SECRET not in str(caught.value)


def test_a_bucket_that_is_not_there_stops_the_study_and_keeps_the_trial(s3, dataset, tmp_path, log):
    settings = TuneSettings(
        family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu", artifacts="s3://nowhere"
    )
    with pytest.raises(StorageError, match="the store named by --artifacts") as caught:
        tune(dataset, settings, studies=tmp_path, watcher=log)
    assert SECRET not in str(caught.value)
