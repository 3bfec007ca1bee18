"""What goes wrong on a disk, with a clock or between versions: one clear line, nothing overwritten, nothing blended."""

import json
import os
import pickle
import shutil
import sqlite3
import tracemalloc
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import optuna
import pytest

import ensemble_ad as ea
from ensemble_ad.blend import saved
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.detect.score_file import Scored, stream_csv
from ensemble_ad.errors import DataError, EnsadError, StorageError
from ensemble_ad.files.id_table import ID
from ensemble_ad.files.json_file import MOST_JSON, read_json, write_json
from ensemble_ad.files.whole import file_hash
from ensemble_ad.members.store import DamagedError, list_members, sound_members
from ensemble_ad.results.submission import write_submission
from ensemble_ad.search import lease
from ensemble_ad.search.notes import FORMAT
from ensemble_ad.search.plan import Plan, TuneSettings

DATA, STORAGE = 3, 4
TUNE = ("tune", "--family", "fcn", "--trials", 3, "--epochs", 1, "--max-width", 128, "--device", "cpu")


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Members that are damaged


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forge(folder: Path, **arrays: np.ndarray) -> None:
    """Other error vectors under a checksum that fits."""
    np.savez(folder / "vectors.npz", **arrays)  # type: ignore[arg-type]
    sign(folder)


def sign(folder: Path) -> None:
    info = json.loads((folder / "member.json").read_text())
    info["checksums"]["vectors.npz"] = file_hash(folder / "vectors.npz")
    write_json(folder / "member.json", info)


def claim(folder: Path, shape: tuple[int, ...]) -> None:
    """An array whose header claims what is not there."""
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    with zipfile.ZipFile(folder / "vectors.npz", "w") as file:
        for name in ("reference.npy", "test.npy"):
            file.writestr(name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    sign(folder)


def bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "vectors.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("reference.npy", bytes(64 << 20))
    sign(folder)


def not_finite(folder: Path, value: float) -> None:
    with np.load(folder / "vectors.npz") as file:
        arrays = dict(file)
    arrays["test"][3, 0] = value
    forge(folder, **arrays)


DAMAGES = {
    "a flipped bit": lambda folder: flip(folder / "vectors.npz"),
    "cut off": lambda folder: (folder / "vectors.npz").write_bytes((folder / "vectors.npz").read_bytes()[:-99]),
    "empty": lambda folder: (folder / "vectors.npz").write_bytes(b""),
    "missing": lambda folder: (folder / "vectors.npz").unlink(),
    "of other images": lambda folder: forge(
        folder,
        reference=np.ones((7, len(json.loads((folder / "member.json").read_text())["columns"])), np.float32),
        test=np.ones((9, len(json.loads((folder / "member.json").read_text())["columns"])), np.float32),
    ),
    "not a number": lambda folder: not_finite(folder, np.nan),
    "infinite": lambda folder: not_finite(folder, np.inf),
    "1e12 elements": lambda folder: claim(folder, (10**12, 1)),
    "a bomb": bomb,
}


@pytest.fixture
def worst(studies):
    """The folder of the fcn member that `blend --members fcn` would take last, and the other one's."""
    members = [member for member in list_members(studies)[0] if member.family == "fcn"]
    return [member.folder for member in sorted(members, key=lambda member: member.value)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_member_is_named_set_aside_and_not_blended(run_ensad, studies, worst, damage):
    bad, good = worst
    DAMAGES[damage](bad)
    tracemalloc.start()
    result = run_ensad("blend", "--members", "fcn,resnet", "--name", "rest", "-q")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("warning: ")
    assert result.stderr.count("\n") == 1
    assert bad.name in result.stderr
    assert f"left out and set aside as .{bad.name}.damaged-1" in result.stderr
    assert bad.name not in result.stdout
    assert good.name in result.stdout
    assert not bad.exists()
    assert (bad.parent / f".{bad.name}.damaged-1").is_dir()
    assert peak < 50 << 20
    assert bad.name not in ea.comparison(studies).index


@pytest.mark.parametrize("damage", ["a flipped bit", "missing"])
def test_a_damaged_member_is_left_out_of_an_evaluation(run_ensad, data, studies, worst, damage):
    DAMAGES[damage](worst[0])
    result = run_ensad("evaluate", "-q")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("warning: ")
    assert worst[0].name not in result.stdout
    assert worst[1].name in result.stdout


def test_where_it_cannot_be_set_aside_it_is_left_out(run_ensad, studies, worst, monkeypatch):
    flip(worst[0] / "vectors.npz")

    def refuse(path, *rest):
        raise PermissionError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        result = run_ensad("evaluate", "-q", "--labels", "none.csv")
        assert result.exit_code == DATA  # labels are looked at first
        sound, problems = sound_members(list_members(studies)[0])
    assert worst[0].name not in [member.key for member in sound]
    assert "left out (cannot set aside" in problems[0]
    assert worst[0].exists()


def test_a_member_that_is_asked_for_by_its_key_is_not_replaced(run_ensad, studies, worst):
    flip(worst[0] / "vectors.npz")
    result = run_ensad("blend", "--members", worst[0].name, "--name", "x", "-q")
    assert result.exit_code == 2
    assert "is damaged" in result.stderr
    assert f"no member or family '{worst[0].name}'" in result.stderr
    assert not (studies / "blends" / "x").exists()


@pytest.mark.parametrize("file", ["vectors.npz", "weights.safetensors", "member.json"])
def test_a_study_makes_a_damaged_member_again(run_ensad, data, studies, file):
    shutil.rmtree(studies / "members")
    (studies / "studies.db").unlink()
    assert run_ensad(*TUNE[:4], 1, *TUNE[5:]).exit_code == 0
    (member,) = list_members(studies)[0]
    before = member.vectors()
    (studies / "studies.db").unlink()
    (member.folder / file).write_bytes((member.folder / file).read_bytes()[:-9])
    result = run_ensad(*TUNE[:4], 1, *TUNE[5:])
    assert result.exit_code == 0, result.output
    assert f"set aside as .{member.key}.damaged-1" in result.stderr
    (again,) = list_members(studies)[0]
    assert again.key == member.key
    for one, two in zip(before, again.vectors(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_study_leaves_a_member_of_a_newer_version_as_it_is(run_ensad, data, studies):
    (studies / "studies.db").unlink()
    for folder in (studies / "members").iterdir():
        info = json.loads((folder / "member.json").read_text())
        write_json(folder / "member.json", {**info, "format": 2})
    before = files(studies / "members")
    result = run_ensad(*TUNE[:4], 1, *TUNE[5:], "-q")
    assert result.exit_code == STORAGE
    assert "has format 2, and this version reads 1; use the ensad that wrote it" in result.stderr
    assert files(studies / "members") == before


# JSON and tables from strangers


@pytest.mark.parametrize(
    "text", [b"[" + b"1," * (50 << 20) + b"1]", b'{"a": "' + b"x" * (100 << 20) + b'"}'], ids=["a list", "text"]
)
def test_100_mb_of_json_are_refused_before_they_are_parsed(studies, text):
    folder = sorted((studies / "members").iterdir())[0]
    (folder / "member.json").write_bytes(text)
    assert len(text) >= 100 << 20
    tracemalloc.start()
    members, problems = list_members(studies)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20
    assert len(members) == 3
    assert problems == [
        f"{folder}/member.json must have {MOST_JSON} bytes at most; it is damaged or not ours, remove it"
    ]


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', '{"a": 1%s}' % ("0" * 5000), '"\\ud800"']
)
def test_infinite_numbers_and_halves_of_characters_are_no_json(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StorageError, match=r"a\.json must be JSON: "):
        read_json(tmp_path / "a.json")


def test_what_would_be_too_large_to_read_is_not_written(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(StorageError, match="must have 64 bytes at most"):
        write_json(tmp_path / "a.json", "x" * 64, most=64)
    assert read_json(tmp_path / "a.json") == 1


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =1", '=HYPERLINK("http://x")']


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_csv_that_is_written_holds_a_formula(run_ensad, data, studies, tmp_path, formula):
    folder = sorted((studies / "members").iterdir())[0]
    info = json.loads((folder / "member.json").read_text())
    info["recipe"]["labels"] = info["preset"] = formula
    write_json(folder / "member.json", {k: v for k, v in info.items() if k != "trial"})
    text = run_ensad("compare", "--format", "csv").stdout
    assert f"'{formula}".replace('"', '""') in text
    for line in text.splitlines():
        assert not any(cell.strip('"').startswith(formula[:2]) for cell in line.split(","))
    # Ids have to be what they are, so they are refused.
    scores, ids = np.arange(2.0), ["0", formula]
    with pytest.raises(DataError, match="an id must not begin as a spreadsheet's formula"):
        write_submission(tmp_path / "out", "x", scores, ids, sample=None, now=datetime(2026, 1, 2))
    with (
        (tmp_path / "a.csv").open("w") as file,
        stream_csv(file, {}) as write,
        pytest.raises(DataError, match="--format json would take"),
    ):
        write(Scored(ids=ids, scores=scores, alarms=scores > 0, unlike=[None] * 2))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["=1+1.png", "@x.png", "-a.png", "a\nb.png", b"\xff.png"])
def test_pictures_named_as_formulas_are_refused_before_a_study(run_ensad, tmp_path, photos, name):
    from PIL import Image

    for folder in ("train", "test"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        Image.fromarray(photos(1, 16, 1)[0, ..., 0]).save(tmp_path / "data" / folder / "0.png")
    picture = tmp_path / "data" / "test" / "0.png"
    shutil.copy(picture, picture.with_name(os.fsdecode(name)))
    result = run_ensad("data", "check")
    assert (result.exit_code, result.stderr.count("\n")) == (DATA, 1), result.output
    assert "an id must" in result.stderr
    assert "rename it" in result.stderr


def test_negative_numbers_are_ids(tmp_path):
    path = write_submission(tmp_path, "x", np.arange(2.0), ["-1", "-2.5e3"], sample=None, now=datetime(2026, 1, 2))
    assert path.read_text() == f"{ID},score\n-1,0.0\n-2.5e3,1.0\n"


# A clock that jumps


@pytest.fixture
def two_workers(digits_folder, tmp_path):
    """A study in which one worker has a trial under way, and another is about to ask for one."""
    dataset = load_dataset(digits_folder, image_cache=tmp_path / "images")
    settings = TuneSettings(family="fcn", trials=5, epochs=1, objective="separation", device="cpu", max_width=128)
    plan, studies = Plan(dataset, settings), tmp_path / "studies"
    with lease.lease(studies) as one, lease.lease(studies) as two:
        first, second = (plan.open_study(studies, worker) for worker in (one, two))
        with first.storage.turn():
            trial = first.next_trial(5)
        yield first, second, trial, studies


def set_clock_forward(studies: Path) -> None:
    """A heartbeat of now looks so where the clock has been set forward by a day since."""
    with sqlite3.connect(studies / "studies.db") as database:
        assert database.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 day')").rowcount > 0
    database.close()


def test_a_clock_set_forward_takes_no_trial_from_a_worker_that_lives(two_workers):
    first, second, trial, studies = two_workers
    set_clock_forward(studies)
    with second.storage.turn():
        other = second.next_trial(5)
    assert other.number == 1
    states = [t.state.name for t in second.study.get_trials()]
    assert states == ["RUNNING", "RUNNING"]
    first.study.tell(trial, 0.5)
    # Its heartbeat is of now again.
    assert second.storage.backend._get_stale_trial_ids(second.study._study_id) == []


def test_a_heartbeat_that_stopped_elsewhere_still_tells(two_workers, monkeypatch):
    _, second, _, studies = two_workers
    set_clock_forward(studies)
    monkeypatch.setattr(lease, "_host", lambda: "elsewhere")
    with second.storage.turn():
        second.next_trial(5)
    assert second.study.get_trials()[0].state.name == "FAIL"


@pytest.mark.parametrize("days", [-400, 400])
def test_with_a_clock_set_back_the_last_blend_is_still_the_one_handed_in(run_ensad, data, studies, monkeypatch, days):
    class Jumped(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=days)

    with monkeypatch.context() as patch:
        patch.setattr(saved, "datetime", Jumped)
        assert run_ensad("blend", "--members", "fcn", "--name", "jumped").exit_code == 0
    assert "-jumped.csv" in run_ensad("submit").stdout
    assert run_ensad("blend", "--members", "resnet", "--name", "after").exit_code == 0
    assert "-after.csv" in run_ensad("submit").stdout
    assert run_ensad("blend", "--members", "fcn", "--name", "jumped").exit_code == 0
    assert "-jumped" in run_ensad("submit").stdout
    times = [datetime.fromisoformat(blend.info.blended) for blend in saved.list_blends(studies)[0]]
    assert times == sorted(set(times))
    assert all(time.tzinfo == UTC for time in times)


# Other versions


def test_a_study_of_a_newer_version_is_refused_and_kept(run_ensad, data, studies):
    url = f"sqlite:///{studies / 'studies.db'}"
    assert run_ensad(*TUNE).exit_code == 0
    named = [name for name in optuna.get_all_study_names(url) if name.startswith("fcn")]
    for name in named:
        study = optuna.load_study(study_name=name, storage=url)
        assert study.user_attrs["format"] == FORMAT
        study.set_user_attr("format", FORMAT + 1)
        study.set_user_attr("version", "9.9")
    before = files(studies)
    result = run_ensad(*TUNE[:4], 5, *TUNE[5:])
    assert (result.exit_code, result.stdout) == (STORAGE, "")
    said = result.stderr.splitlines()[-1]
    assert "has format 2 (ensemble_ad 9.9), and this version" in said
    assert "use the ensad that wrote it" in said
    assert files(studies) == before


def test_a_database_of_another_optuna_is_refused_and_kept(run_ensad, data, studies):
    with sqlite3.connect(studies / "studies.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    database.close()
    before = files(studies)
    for command in (TUNE, ("compare", "--failed")):
        result = run_ensad(*command)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (STORAGE, "", 1), result.output
        assert "another version of Optuna wrote it" in result.stderr
        assert files(studies) == before


# A read-only folder


def test_what_only_reads_works_where_nothing_can_be_written(run_ensad, data, studies, monkeypatch):
    # Root may write everywhere, so what the system says of a read-only disk is put in its mouth.
    def refuse(*arguments, **keywords):
        raise OSError(30, "Read-only file system")

    for name in ("os.mkdir", "os.open", "tempfile.mkdtemp", "pathlib.Path.rename"):
        monkeypatch.setattr(name, refuse)
    monkeypatch.setattr("os.access", lambda path, mode: mode != 2)
    assert run_ensad("compare").exit_code == 0
    assert run_ensad("compare", "--failed").exit_code == 0
    for command in (("blend", "--members", "fcn"), ("evaluate",), ("submit",), TUNE):
        result = run_ensad(*command, "-q")
        assert result.exit_code == STORAGE
        assert "permission denied" in result.stderr
        assert result.stderr.count("\n") == 1


# Secrets


SECRET = "hunter2-not-to-be-seen"


@pytest.mark.parametrize("value", [f'["postgresql://u:{SECRET}@h/d"]', f'{{url = "postgresql://u:{SECRET}@h/d"}}'])
@pytest.mark.parametrize("table", ["", "[tune]\n"])
@pytest.mark.parametrize("key", ["storage", "artifacts"])
def test_settings_that_are_wrong_do_not_show_a_password(run_ensad, tmp_path, table, key, value):
    (tmp_path / "ensad.toml").write_text(f"{table}{key} = {value}\n")
    result = run_ensad("tune", "--family", "fcn")
    assert result.exit_code == 2
    assert SECRET not in result.output


def test_no_error_of_looking_at_failures_repeats_a_storage_url(run_ensad):
    for url in (f"postgresql://someone:{SECRET}@127.0.0.1:1/nothing", f"mysql://u:{SECRET}@h/d", f"://{SECRET}"):
        result = run_ensad("compare", "--failed", "--storage", url)
        assert (result.exit_code, result.stderr.count("\n")) == (STORAGE, 1), result.output
        assert SECRET not in result.output
        assert "--storage" in result.stderr


def test_an_error_travels_from_a_worker_and_is_one_printable_line(studies):
    member = list_members(studies)[0][0]
    error = DamagedError("is\ndamaged \x1b[2J \ud800", key=member.key, folder=member.folder)
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, DamagedError)
    assert isinstance(back, StorageError)
    assert str(back) == str(error) == "is damaged \\x1b[2J \\ud800"
    assert (back.key, back.folder) == (member.key, member.folder)
    assert isinstance(back, EnsadError)
