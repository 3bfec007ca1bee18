"""A blend goes to another machine as one file, whole, verified, and nothing else comes with it."""

import io
import json
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ensemble_ad as ea
from ensemble_ad.blend import exported as archive
from ensemble_ad.blend.exported import MANIFEST, export_blend, import_blend
from ensemble_ad.blend.forest import grow
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.detect.probe import check_probe
from ensemble_ad.errors import DataError, StorageError, UsageError
from ensemble_ad.files.archive import Archive
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.files.whole import file_hash


@pytest.fixture(scope="module")
def exported(studies_folder, tmp_path_factory) -> Path:
    """The blend `both` as a zip; for reading only."""
    target = tmp_path_factory.mktemp("exported") / "both.zip"
    return export_blend(studies_folder, load_blend(studies_folder, "both"), target)


@pytest.fixture
def away(tmp_path) -> Path:
    """The studies' folder of another machine, empty."""
    return tmp_path / "away"


def _content(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def _changed(path: Path, target: Path, change, *, sign: bool = True) -> Path:
    """A copy of the archive after `change(content)`, its list of checksums made to fit where `sign` says so."""
    content = _content(path)
    change(content)
    if sign and MANIFEST in content:
        manifest = json.loads(content[MANIFEST])
        scratch = target.with_suffix(".scratch")
        for name, told in manifest["files"].items():
            if name in content:
                scratch.write_bytes(content[name])
                told |= {"size": len(content[name]), "checksum": file_hash(scratch)}
        scratch.unlink()
        content[MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w") as file:
        for name, value in content.items():
            file.writestr(name, value)
    return target


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


def test_another_name_can_be_given(exported, studies_folder, away):
    assert import_blend(away, exported, name="theirs").name == "theirs"
    assert import_blend(away, exported).name == "both"
    np.testing.assert_array_equal(load_blend(away, "theirs").scores(), load_blend(studies_folder, "both").scores())


def test_the_probe_notices_a_model_that_scores_otherwise(run_ensad, studies, tmp_path, away):
    assert run_ensad("export", "both").exit_code == 0

    def change(content):
        manifest = json.loads(content[MANIFEST])
        manifest["probe"]["vectors"][0][0] *= 1.01
        content[MANIFEST] = json.dumps(manifest).encode()

    path = _changed(tmp_path / "both.zip", tmp_path / "other.zip", change)
    result = run_ensad("import", path, "--studies", away)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "the blend both scores otherwise here than where it was exported" in result.stderr
    assert _files(away) == {}


def test_a_name_or_member_that_is_taken_is_refused_and_kept(exported, studies, away):
    import_blend(away, exported)
    shutil.copytree(studies / "blends" / "both", studies / "blends" / "other")
    info = read_json(studies / "blends" / "other" / "blend.json")
    write_json(studies / "blends" / "other" / "blend.json", {**info, "name": "other", "identity": "x"})
    target = export_blend(studies, load_blend(studies, "other"), away.parent / "other.zip")
    with pytest.raises(UsageError, match="the name 'both' is taken by another blend; choose another with --name"):
        import_blend(away, target, name="both")
    key = info["members"][0]
    member = read_json(away / "members" / key / "member.json")
    changed = {**member, "checksums": {**member["checksums"], "weights.safetensors": "0" * 32}}
    write_json(away / "members" / key / "member.json", changed)
    before = _files(away)
    with pytest.raises(StorageError, match=f"{key} is there already with other weights"):
        import_blend(away, target)
    assert _files(away) == before


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


def _edit(name, edit):
    def change(content):
        content[name] = json.dumps(edit(json.loads(content[name]))).encode()

    return change


def _first(content, suffix):
    return next(name for name in content if name.endswith(suffix) and name not in ("scores.npz", *_JSON))


_JSON = ("blend.json", "data.json", MANIFEST)


def _npz(content, name, **arrays):
    with np.load(io.BytesIO(content[name])) as file:
        held = dict(file) | arrays
    buffer = io.BytesIO()
    np.savez(buffer, **held)
    content[name] = buffer.getvalue()


def _list_also(name):
    def change(content):
        content[name] = b"{}"
        manifest = json.loads(content[MANIFEST])
        manifest["files"][name] = {"size": 2, "checksum": ""}
        content[MANIFEST] = json.dumps(manifest).encode()

    return change


CHANGES = {
    "no manifest": (lambda c: c.pop(MANIFEST), f"has no {MANIFEST}"),
    "manifest no JSON": (lambda c: c.update({MANIFEST: b"\xff"}), f"{MANIFEST} is damaged"),
    "manifest a list": (_edit(MANIFEST, lambda m: [m]), f"{MANIFEST} is damaged"),
    "newer": (_edit(MANIFEST, lambda m: {**m, "format": 2, "version": "9.9"}), "has format 2 (ensemble_ad 9.9)"),
    "files a list": (_edit(MANIFEST, lambda m: {**m, "files": []}), f"{MANIFEST} is damaged"),
    "a size in words": (
        _edit(MANIFEST, lambda m: {**m, "files": {**m["files"], "data.json": {"size": "1", "checksum": ""}}}),
        f"{MANIFEST} is damaged",
    ),
    "lacks a member": (lambda c: c.pop(_first(c, ".npz")), "differ"),
    "more than listed": (lambda c: c.update({"fcn-0123456789ab.json": b"{}"}), "differ"),
    "traversal": (_list_also("../evil.json"), "holds '../evil.json', which no exported blend has"),
    "absolute": (_list_also("/tmp/evil.json"), "holds '/tmp/evil.json', which no exported blend has"),
    "a pickle": (_list_also("model.pkl"), "holds 'model.pkl', which no exported blend has"),
    "a folder": (lambda c: c.update({"a/": b""}), "must hold plain files only, but 'a/' is none"),
    "another member": (_list_also("fcn-0123456789ab.json"), "it must hold the blend's members"),
    "blend no JSON": (lambda c: c.update({"blend.json": b"["}), "is not a blend that this version reads"),
    "another name": (_edit("blend.json", lambda m: {**m, "name": "x"}), "is not a blend that this version reads"),
    "another data set": (_edit("data.json", lambda m: {**m, "fingerprint": "0" * 32}), "is not a blend"),
    "member no JSON": (lambda c: c.update({_first(c, ".json"): b""}), "is not a blend that this version reads"),
    "other vectors": (lambda c: _npz(c, _first(c, ".npz"), test=np.zeros((3, 1))), "is damaged"),
    "other weights": (lambda c: c.update({_first(c, ".safetensors"): b"x"}), "is damaged"),
}


_SIGNED = ("blend no JSON", "member no JSON", "another member", "another name", "another data set", "other vectors",
           "other weights")  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_a_tampered_archive_is_refused_and_nothing_is_written(exported, tmp_path, away, kind):
    change, said = CHANGES[kind]
    path = _changed(exported, tmp_path / "bad.zip", change, sign=kind in _SIGNED)
    for source in (path, _unpacked(path, tmp_path / "bad")):
        with pytest.raises(DataError) as refused:
            import_blend(away, source)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
        assert _files(away) == {}
        assert {p.name for p in tmp_path.iterdir()} <= {"away", "bad.zip", "bad"}


def _unpacked(path: Path, folder: Path) -> Path:
    """As a folder; names that lead out of it stay in the zip alone."""
    names = list(_content(path))
    if any("/" in name for name in names):
        return path
    with zipfile.ZipFile(path) as file:
        file.extractall(folder)
    return folder


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("child", lambda child: np.arange(len(child), dtype=np.int32)),
        ("child", lambda child: child + len(child)),
        ("feature", lambda feature: feature + 9),
        ("threshold", lambda threshold: threshold[:1]),
    ],
    ids=["a circle", "out of the table", "no such member", "too short"],
)
def test_trees_that_lead_nowhere_are_refused(array, change):
    rng = np.random.default_rng(0)
    reference, test = rng.normal(size=(2, 200, 3))
    blend = ea.blend_scores(reference, test + 2, method="mean")
    forest = grow(reference, test + 2, trees=3)
    part = replace(blend.parts[0], combiner="forest", forest=forest)
    archive._check_rule(replace(blend, parts=(part,)))
    broken = replace(part, forest=replace(forest, **{array: change(getattr(forest, array))}))
    with pytest.raises(StorageError, match="the rule's arrays do not belong together"):
        archive._check_rule(replace(blend, parts=(broken,)))


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_a_flipped_byte_is_noticed(exported, tmp_path, away, position):
    content = bytearray(exported.read_bytes())
    content[int(position * len(content))] ^= 1
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(DataError):
        import_blend(away, tmp_path / "bad.zip")
    assert _files(away) == {}


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_cut_off_archive_is_refused(exported, tmp_path, away, share):
    (tmp_path / "bad.zip").write_bytes(exported.read_bytes()[: int(share * exported.stat().st_size)])
    with pytest.raises(DataError, match="must be a zip or folder that `ensad export` wrote"):
        import_blend(away, tmp_path / "bad.zip")


def test_a_link_is_refused(exported, tmp_path, away):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        for name, value in _content(exported).items():
            entry = zipfile.ZipInfo(name)
            if name == "data.json":
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
                value = b"/etc/passwd"
            file.writestr(entry, value)
    with pytest.raises(DataError, match=r"must hold plain files only, but 'data\.json' is none"):
        import_blend(away, tmp_path / "bad.zip")
    folder = _unpacked(exported, tmp_path / "folder")
    (folder / "data.json").unlink()
    (folder / "data.json").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"must hold plain files only, but 'data\.json' is none"):
        import_blend(away, folder)


def test_a_zip_bomb_is_refused_unopened(exported, tmp_path, away, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(MANIFEST, _content(exported)[MANIFEST])
        file.writestr("data.json", b"0" * (64 << 20))
    monkeypatch.setattr(Archive, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DataError, match="and would unpack to 67"):
        import_blend(away, tmp_path / "bomb.zip")


def test_a_recipe_of_any_size_is_refused_before_memory_is_taken(exported, tmp_path, away):
    def widen(info):
        recipe = info["recipe"]
        return {**info, "recipe": {**recipe, "architecture": {**recipe["architecture"], "widths": [10**9, 10**9]}}}

    def change(content):
        for name in [name for name in content if name.startswith("fcn-") and name.endswith(".json")]:
            _edit(name, widen)(content)
        manifest = json.loads(content[MANIFEST])
        content[MANIFEST] = json.dumps({**manifest, "probe": {"vectors": []}}).encode()

    with pytest.raises(StorageError, match="asks for a network of 8000"):
        import_blend(away, _changed(exported, tmp_path / "bad.zip", change), check=check_probe)
    assert _files(away) == {}


def test_a_bomb_inside_an_array_file_is_refused(exported, tmp_path, away):
    def change(content):
        name = _first(content, ".npz")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("test.npy", b"0" * (64 << 20))
        content[name] = buffer.getvalue()

    with pytest.raises(DataError, match="would unpack to 67108864"):
        import_blend(away, _changed(exported, tmp_path / "bad.zip", change))


def test_a_name_twice_is_refused(exported, tmp_path, away):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        for name, value in _content(exported).items():
            file.writestr(name, value)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("data.json", b"{}")
    with pytest.raises(DataError, match="a name twice"):
        import_blend(away, tmp_path / "bad.zip")


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "fcn-0123456789ab"])
def test_a_name_cannot_lead_out_of_the_folder(exported, tmp_path, away, name):
    bad = _changed(exported, tmp_path / "bad.zip", _edit(MANIFEST, lambda m: {**m, "name": name}))
    with pytest.raises(UsageError, match=r"a blend's name must be|looks like a member's key"):
        import_blend(away, bad)
    if name:
        with pytest.raises(UsageError, match=r"a blend's name must be|looks like a member's key"):
            import_blend(away, exported, name=name)
    assert not away.exists() or _files(away) == {}


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
