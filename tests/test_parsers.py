"""Whatever is read from a file or typed: made of valid input and damaged, it gives a result or one clear error.

For ten minutes and more, with how many inputs were tried:

    pytest tests/test_parsers.py --hypothesis-profile fuzz --hypothesis-show-statistics
"""

import csv
import json
import shutil
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ensemble_ad.blend.exported import MANIFEST, export_blend
from ensemble_ad.blend.imported import import_blend
from ensemble_ad.blend.saved import list_blends, load_blend
from ensemble_ad.cli import main
from ensemble_ad.cli._config import read_defaults
from ensemble_ad.data.npy import open_array
from ensemble_ad.data.pictures import read_picture
from ensemble_ad.detect.probe import check_probe
from ensemble_ad.errors import DataError, EnsadError, StorageError, UsageError
from ensemble_ad.files.arrays import read_arrays
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.files.whole import file_hash, make_folder
from ensemble_ad.layout import MEMBER_FILES
from ensemble_ad.members.choose import parse_weights, select
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.results import evaluation as evaluate
from ensemble_ad.results.comparison import tabulate
from ensemble_ad.results.comparison_text import render_text
from ensemble_ad.results.submission import write_submission
from ensemble_ad.search import travel as artifacts
from ensemble_ad.search.storage import reading
from ensemble_ad.training.checkpoint import Checkpoint

IDS = [str(i) for i in range(8)]
# Each example overwrites the one file that it is about, so a folder for all of them will do.
often = settings(
    max_examples=settings.default.max_examples // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ODD = st.sampled_from(
    ["", "=1+1", "../../x", "/tmp/x", "\x1b[2J", "\x00", "\ud800", "a" * 400, "nan", "1e999", "é", "fcn", "-1", "\n"]
)
NUMBERS = st.integers(-(2**70), 2**70) | st.integers(-2, 3) | st.floats() | st.sampled_from([1e300, 1e-300, 10**12])
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | ODD | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD | st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Bytes after a few accidents: flipped, cut off, repeated, moved, overwritten by what parsers stumble over."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.sampled_from(["flip", "cut", "insert", "repeat", "drop", "number"]))
        if what == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del data[at:]
        elif what == "insert":
            data[at:at] = draw(
                st.binary(max_size=8) | st.sampled_from([b"\xff\xfe", b'"', b",", b"\n", b"(", b"0" * 5000])
            )
        elif what == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        elif what == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif what == "number":
            size = draw(st.sampled_from([1, 2, 4, 8]))
            data[at : at + size] = draw(st.sampled_from([b"\xff", b"\x00", b"\x7f", b"\x80"])) * size
    return bytes(data)


@st.composite
def altered(draw, value):
    """JSON in which one or two values, anywhere, are others or gone."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 2))):
        place = value
        while True:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw(st.sampled_from(list(keys)[:40]))
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if draw(st.integers(0, 4)):
                place[key] = draw(JUNK)
            else:
                del place[key]
            break
    return value


def written(path: Path, value: object) -> None:
    """As a stranger would write it: with NaN, numbers of any size and halves of surrogate pairs."""
    path.write_text(json.dumps(value), encoding="utf-8")


def one_line(error: Exception, *, secret: str = "\n") -> None:
    str(error).encode()
    assert "\n" not in str(error)
    assert secret not in str(error)
    assert len(str(error)) < 2000


# Images


NPY = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (3, 16, 16, 1), }".ljust(117)
NPY += b"\n" + bytes(range(256)) * 3


@often
@given(content=damaged(NPY))
def test_npy_files(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    try:
        images = open_array(tmp_path / "a.npy")
    except DataError as error:
        one_line(error)
        return
    assert images.dtype == np.uint8
    assert images.ndim == 4
    assert images.size <= len(content)
    np.asarray(images).sum()


@pytest.fixture(scope="module")
def picture(tmp_path_factory, photos) -> bytes:
    path = tmp_path_factory.mktemp("picture") / "a.png"
    Image.fromarray(photos(1, 16, 3)[0]).save(path)
    return path.read_bytes()


@often
@given(data=st.data())
def test_pictures(tmp_path, picture, data):
    path = tmp_path / data.draw(st.sampled_from(["a.png", "a.gif", "a.tif"]))
    path.write_bytes(data.draw(damaged(picture)))
    try:
        assert read_picture(path).dtype == np.uint8
    except DataError as error:
        one_line(error)


# Tables


LABELS = ("ID,label\n" + "".join(f"{i},{int(i) % 2}\n" for i in IDS)).encode()
CELLS = st.sampled_from(
    ["ID", "label", "score", "0", "1", "7", ",", "\n", "\r", '"', "'", " ", ";", "\x00", "é", "=1", "1e9"]
)


@often
@given(content=damaged(LABELS) | st.lists(CELLS, max_size=12).map(lambda c: ("ID,label\n" + "".join(c)).encode()))
def test_labels(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(content)
    try:
        label = read_labels(tmp_path / "labels.csv", IDS)
    except DataError as error:
        one_line(error)
        return
    assert set(label.tolist()) == {0, 1}
    assert len(label) == len(IDS)


@often
@given(content=damaged(LABELS.replace(b"label", b"score")))
def test_sample_submissions(tmp_path, content):
    (tmp_path / "sample.csv").write_bytes(content)
    try:
        path = write_submission(
            tmp_path / "out", "x", np.arange(8.0), IDS, sample=tmp_path / "sample.csv", now=datetime(2026, 1, 2)
        )
    except DataError as error:
        one_line(error)
        return
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    place = next(at for at in range(len(header)) if sorted(row[at] for row in rows) == IDS)  # the sample decides
    assert all(len(row) == len(header) for row in rows), place
    path.unlink()


# JSON


def sound_json(source: Path, studies: Path, path: Path) -> dict[str, object]:
    """What a file was before anything was done to it."""
    return read_json(source / path.relative_to(studies))


def table_of(studies: Path) -> None:
    """What `ensad compare` does with whatever is there; its text and its CSV."""
    members, problems = list_members(studies)
    blends, more = list_blends(studies)
    table = tabulate(studies, members, blends)
    render_text(table).encode()
    table.to_csv().encode()
    for blend in blends:
        blend.estimate_in_words()
    for problem in (*problems, *more):
        assert "\n" not in problem


@often
@given(data=st.data())
def test_members(studies, studies_folder, data):
    folder = sorted((studies / "members").iterdir())[0]
    written(folder / "member.json", data.draw(altered(sound_json(studies_folder, studies, folder / "member.json"))))
    try:
        member = load_member(studies, folder.name)
        reference, test = member.vectors()
        assert np.isfinite(reference).all()
        assert np.isfinite(test).all()
    except StorageError as error:
        one_line(error)
    table_of(studies)


@often
@given(data=st.data())
def test_blends(studies, studies_folder, data):
    path = studies / "blends" / "both" / "blend.json"
    written(path, data.draw(altered(sound_json(studies_folder, studies, path))))
    try:
        blend = load_blend(studies, "both")
        blend.rule()
    except (StorageError, DataError) as error:
        one_line(error)
    table_of(studies)


@often
@given(data=st.data())
def test_the_rule_of_a_blend(studies, studies_folder, data):
    folder = studies / "blends" / "both"
    with np.load(studies_folder / "blends" / "both" / "scores.npz") as file:
        sound = dict(file)
    arrays = dict(sound)
    if data.draw(st.booleans()):
        arrays["json"] = np.array(json.dumps(data.draw(altered(json.loads(str(sound["json"]))))))
    else:
        name = data.draw(st.sampled_from(sorted(sound)))
        if data.draw(st.booleans()):
            arrays[name] = data.draw(
                st.sampled_from([np.zeros(0), np.zeros((2, 2)), np.array("x"), np.full(3, np.nan)])
            )
        else:
            del arrays[name]
    info = sound_json(studies_folder, studies, folder / "blend.json")
    np.savez(folder / "scores.npz", **arrays)
    write_json(folder / "blend.json", {**info, "checksum": file_hash(folder / "scores.npz")})
    try:
        load_blend(studies, "both").rule()
    except (StorageError, DataError) as error:
        one_line(error)


@often
@given(data=st.data())
def test_data_records(studies, studies_folder, data):
    (path,) = (studies / "data").iterdir()
    written(path, data.draw(altered(sound_json(studies_folder, studies, path))))
    try:
        record = load_data_record(studies, path.stem)
        assert all(isinstance(name, str) for name in record.ids)
    except StorageError as error:
        one_line(error)
    table_of(studies)


@pytest.fixture
def evaluated(studies):
    (record,) = (studies / "data").iterdir()
    names = [folder.name for folder in (studies / "members").iterdir()]
    row = {"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "ties_best": True, "p_best": None}
    path = studies / "evaluations" / record.name
    make_folder(path.parent)
    return path, {"labels": "l.csv", "labels_hash": "x", "rows": dict.fromkeys(sorted([*names, "both"]), row)}


@often
@given(data=st.data())
def test_evaluations(studies, evaluated, data):
    path, sound = evaluated
    written(path, data.draw(altered(sound)))
    try:
        evaluate.load_evaluation(studies, path.stem)
        table_of(studies)
    except StorageError as error:
        one_line(error)


@often
@given(
    content=damaged(b'{"a": [1, 2.5, "\\u00e9", null], "b": {"c": -1e5}}') | JUNK.map(lambda v: json.dumps(v).encode())
)
def test_json_is_read_as_what_can_be_written_again(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    try:
        value = read_json(tmp_path / "a.json")
    except StorageError as error:
        one_line(error)
        return
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


# Arrays and archives


@pytest.fixture(scope="module")
def npz(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez(path, reference=np.ones((3, 2), np.float32), test=np.ones((4, 2), np.float32), word=np.array("é"))
    return path.read_bytes()


@often
@given(data=st.data())
def test_npz_files(tmp_path, npz, data):
    content = data.draw(damaged(npz))
    (tmp_path / "a.npz").write_bytes(content)
    try:
        arrays = read_arrays(tmp_path / "a.npz")
    except StorageError as error:
        one_line(error)
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(content)


SHAPES = st.lists(st.integers(-2, 4) | st.sampled_from([10**12, 2**63, 2**64, 10**40]), max_size=4).map(tuple)
TYPES = st.sampled_from(["<f4", "<f8", "|O", "|u1", "<U4", "<c16", "<M8[ns]", "|V9", "f4,f4", "", "zz", "<f4" * 9])


@often
@given(shape=SHAPES, kind=TYPES, fortran=st.booleans(), rest=st.binary(max_size=40))
def test_headers_of_arrays_in_an_npz(tmp_path, shape, kind, fortran, rest):
    header = repr({"descr": kind, "fortran_order": fortran, "shape": shape}).encode()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("test.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + rest)
    try:
        arrays = read_arrays(tmp_path / "a.npz")
    except StorageError as error:
        one_line(error)
        return
    assert arrays["test"].nbytes == len(rest)


@pytest.fixture(scope="module")
def exported(studies_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "both.zip"
    return export_blend(studies_folder, load_blend(studies_folder, "both"), path).read_bytes()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@often
@given(data=st.data())
def test_archives(tmp_path, exported, data):
    (tmp_path / "bad.zip").write_bytes(data.draw(damaged(exported)))
    try:
        import_blend(tmp_path / "away", tmp_path / "bad.zip")
    except EnsadError as error:
        one_line(error)
        assert files_in(tmp_path) == [tmp_path / "bad.zip"]
    shutil.rmtree(tmp_path / "away", ignore_errors=True)


@often
@given(data=st.data())
def test_archives_whose_list_of_checksums_is_right(tmp_path, exported, data):
    (tmp_path / "good.zip").write_bytes(exported)
    with zipfile.ZipFile(tmp_path / "good.zip") as file:
        content = {name: file.read(name) for name in file.namelist()}
    (tmp_path / "good.zip").unlink()
    name = data.draw(st.sampled_from(sorted(content)))
    if name.endswith(".json"):
        content[name] = json.dumps(data.draw(altered(json.loads(content[name])))).encode()
    else:
        content[name] = data.draw(damaged(content[name]))
    if name != MANIFEST:
        (tmp_path / "scratch").write_bytes(content[name])
        manifest = json.loads(content[MANIFEST])
        told = {"size": len(content[name]), "checksum": file_hash(tmp_path / "scratch")}
        content[MANIFEST] = json.dumps({**manifest, "files": {**manifest["files"], name: told}}).encode()
        (tmp_path / "scratch").unlink()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        for each, value in content.items():
            file.writestr(each, value)
    try:
        import_blend(tmp_path / "away", tmp_path / "bad.zip", check=check_probe)
    except EnsadError as error:
        one_line(error)
        assert files_in(tmp_path) == [tmp_path / "bad.zip"]
    else:
        table_of(tmp_path / "away")
    shutil.rmtree(tmp_path / "away", ignore_errors=True)


@pytest.fixture(scope="module")
def artifact(studies_folder, tmp_path_factory):
    """A member as it lies in an artifact store, and its key."""
    path = tmp_path_factory.mktemp("artifact") / "member.zip"
    member = list_members(studies_folder)[0][0]
    with zipfile.ZipFile(path, "w") as file:
        for name in MEMBER_FILES:
            file.write(member.folder / name, name)
        file.write(studies_folder / "data" / f"{member.data}.json", "data.json")
    return path.read_bytes(), member.key


@often
@given(data=st.data())
def test_members_from_an_artifact_store(tmp_path, artifact, data):
    content, key = artifact
    (tmp_path / "packed.zip").write_bytes(data.draw(damaged(content)))
    stage = tmp_path / "stage"
    try:
        artifacts._unpack(tmp_path / "packed.zip", key, stage).vectors()
    except artifacts._NotAMember as error:
        one_line(error)
    outside = [path for path in files_in(tmp_path) if not path.is_relative_to(stage)]
    assert outside == [tmp_path / "packed.zip"]
    shutil.rmtree(stage, ignore_errors=True)


@pytest.fixture(scope="module")
def packed(studies_folder):
    return (list_members(studies_folder)[0][0].folder / "weights.safetensors").read_bytes()


@often
@given(data=st.data())
def test_checkpoints(tmp_path, packed, data):
    checkpoint = Checkpoint(tmp_path, "fcn-0123456789ab")
    path = tmp_path / "checkpoints" / "fcn-0123456789ab.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data.draw(damaged(packed)))
    assert checkpoint.read() is None


# What is typed


OPTIONS = main._options()
TOML = (
    "".join(f"{name} = 1\n" for name in sorted(OPTIONS["tune"])) + '[tune]\nlabels = "x"\n["data check"]\ndata = "y"\n'
)
WORDS = st.sampled_from(
    [
        *sorted(OPTIONS),
        *sorted(OPTIONS["tune"]),
        "[",
        "]",
        "[[",
        "]]",
        "=",
        '"',
        "'''",
        "\n",
        "1",
        "{",
        "}",
        "#",
        ".",
        "\\",
    ]
)


@often
@given(content=damaged(TOML.encode()) | st.lists(WORDS, max_size=12).map(lambda words: " ".join(words).encode()))
def test_settings(tmp_path, content):
    (tmp_path / "ensad.toml").write_bytes(content)
    try:
        defaults = read_defaults(tmp_path / "ensad.toml", OPTIONS)
    except UsageError as error:
        one_line(error)
        return
    assert defaults.keys() <= {command.split()[0] for command in OPTIONS}


TERMS = st.sampled_from(
    ["fcn", "resnet", ":", ",", "all", "3", "0", " ", "-", "²", "\n", "KEY", ":9999999999999999999"]
)


@often
@given(text=st.text(max_size=12) | st.lists(TERMS, max_size=8).map("".join))
def test_members_to_blend(studies_folder, text):
    members = list_members(studies_folder)[0]
    try:
        terms = select(members, text.replace("KEY", members[0].key))
    except UsageError as error:
        one_line(error)
        return
    keys = [member.key for term in terms for member in term.members]
    assert len(keys) == len(set(keys)) >= len(terms)


@often
@given(text=st.text(st.sampled_from("0123456789.,-+eEinfa_ ²\n"), max_size=16), n_terms=st.integers(1, 3))
def test_weights(text, n_terms):
    try:
        weights = parse_weights(text, n_terms)
    except UsageError:
        return
    assert len(weights) == n_terms
    assert all(np.isfinite(weights))
    assert 0 < sum(weights) < float("inf")


URLS = st.sampled_from(
    ["postgresql", "sqlite", "mysql", "://", "/", ":", "@", "hunter2", "127.0.0.1", "1", "?", "=", "%", "[", "]", "é"]
)


@often
@given(url=st.lists(URLS, min_size=1, max_size=9).map("".join))
def test_storage_urls(tmp_path, url):
    try:
        with reading(tmp_path, f"{url}hunter2") as backend:
            assert backend is None
    except (StorageError, UsageError) as error:
        one_line(error, secret="hunter2")


# What the fuzzing found, before it was mended


FOUND: dict[str, tuple[str, dict[str, object]]] = {
    "a trial that is a number": ("members/*/member.json", {"trial": 1}),
    "a weight that is none": ("blends/both/blend.json", {"weights": {"fcn-0123456789ab/rss": None}}),
    "a share of nothing": ("blends/both/blend.json", {"share": {}}),
    "ids that are none": ("data/*.json", {"ids": [None]}),
    "an AUC that is a table": ("evaluations/*.json", {"rows": {"both": {"auc": {"x": []}}}}),
}


@pytest.mark.parametrize("kind", FOUND)
def test_what_was_found_in_json(studies, evaluated, kind):
    pattern, changes = FOUND[kind]
    write_json(*evaluated)
    path = sorted(studies.glob(pattern))[0]
    written(path, {**read_json(path), **changes})
    try:
        table_of(studies)
        load_data_record(studies, evaluated[0].stem)
    except StorageError as error:
        one_line(error)
    else:
        members, problems = list_members(studies)
        assert (len(members), len(problems) + len(list_blends(studies)[1])) in ((3, 1), (4, 1))


def test_a_png_of_which_pillow_says_syntax_error(tmp_path, picture):
    at = picture.index(b"IDAT")
    (tmp_path / "a.png").write_bytes(picture[: at - 4] + bytes(4) + picture[at:])
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image \(broken PNG file"):
        read_picture(tmp_path / "a.png")


def test_a_zip_that_begins_before_its_file(tmp_path, exported):
    (tmp_path / "bad.zip").write_bytes(exported[1:])
    with pytest.raises(DataError, match="must be a zip or folder that `ensad export` wrote"):
        import_blend(tmp_path / "away", tmp_path / "bad.zip")


def test_an_id_of_5000_characters_does_not_fill_the_screen(tmp_path):
    (tmp_path / "a.csv").write_text("ID,label\n" + "".join(f"{'0' * 5000 if i == '7' else i},0\n" for i in IDS))
    with pytest.raises(DataError, match=r"1 missing \('7'\) and 1 unknown \('0{80}'\.\.\.\)"):
        read_labels(tmp_path / "a.csv", IDS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{'0' * 5000} = 1", "which no command has"),
        (f"seed = 1{'0' * 5000}", "be TOML"),
        ("a=" + "[" * 9999, "be TOML"),
    ],
    ids=["a key", "a number", "brackets"],
)
def test_a_setting_of_5000_characters_is_one_line(tmp_path, text, said):
    (tmp_path / "ensad.toml").write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_defaults(tmp_path / "ensad.toml", OPTIONS)
    one_line(caught.value)


def test_a_password_in_the_place_of_a_storage_is_not_repeated(tmp_path):
    with (
        pytest.raises(StorageError, match="must be sqlite:///FILE or postgresql://") as caught,
        reading(tmp_path, "hunter2://x"),
    ):
        pass
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("side", ["reference", "test"])
def test_a_member_of_other_rows_than_its_blends_is_one_line(studies, side, data, run_ensad):
    folder = sorted((studies / "members").iterdir())[0]
    with np.load(folder / "vectors.npz") as file:
        arrays = dict(file)
    np.savez(folder / "vectors.npz", **{**arrays, side: np.repeat(arrays[side], 2, axis=0)})
    info = read_json(folder / "member.json")
    checksums = {**info["checksums"], "vectors.npz": file_hash(folder / "vectors.npz")}
    write_json(folder / "member.json", {**info, "checksums": checksums})
    evaluate, audit = "evaluate --labels data/labels.csv", "audit --labels data/labels.csv"
    for command in ("score data/testingset.npy", evaluate, audit, "blend --members fcn,resnet --name x", "report"):
        result = run_ensad(*command.split())
        assert (result.exit_code in (0, 3, 4), result.stderr.count("Error: ")) == (True, int(result.exit_code != 0))


@pytest.mark.parametrize("child", ["half", "tiny", "itself"])
def test_trees_that_lead_back_are_refused_and_not_followed_for_ever(studies, child, data, run_ensad):
    folder = studies / "blends" / "both"
    with np.load(folder / "scores.npz") as file:
        arrays = dict(file)
    (name,) = (name for name in arrays if name.endswith(".child"))
    count = np.arange(len(arrays[name]))
    arrays[name] = {"half": count + 0.5, "tiny": arrays[name] * 1e-42, "itself": count.astype(np.int32)}[child]
    np.savez(folder / "scores.npz", **arrays)
    info = read_json(folder / "blend.json")
    write_json(folder / "blend.json", {**info, "checksum": file_hash(folder / "scores.npz")})
    result = run_ensad("score", data / "testingset.npy", "-q")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (4, "", 1)
    assert "holds no rule" in result.stderr
