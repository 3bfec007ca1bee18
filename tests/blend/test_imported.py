"""What is imported: an archive as it was exported, and none that someone has been at."""

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ensemble_ad.blend.exported import MANIFEST, export_blend
from ensemble_ad.blend.imported import import_blend
from ensemble_ad.blend.saved import list_blends, load_blend
from ensemble_ad.cli import main
from ensemble_ad.detect.probe import check_probe
from ensemble_ad.errors import DataError, StorageError, UsageError
from ensemble_ad.files.archive import Archive
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.files.whole import file_hash, whole_folder
from ensemble_ad.members.store import list_members


def _content(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


# Crafted archives: their list of checksums is right


@pytest.fixture
def victim(tmp_path) -> Path:
    """A file outside of the studies' folder, which no import may touch."""
    (tmp_path / "victim").mkdir()
    path = tmp_path / "victim" / "settings.json"
    path.write_text("mine")
    return path


def _members(content) -> list[str]:
    """The names of the members' records in an archive."""
    return [name for name in content if name.endswith(".json") and name not in _JSON]


def _everywhere(content, fingerprint):
    """Another fingerprint wherever an archive says one."""
    for name in _members(content):
        _edit(name, lambda m: {**m, "recipe": {**m["recipe"], "data": fingerprint}})(content)
    _edit("blend.json", lambda m: {**m, "data": fingerprint})(content)
    _edit("data.json", lambda m: {**m, "fingerprint": fingerprint})(content)


@pytest.mark.parametrize(
    "fingerprint",
    [
        "{victim}",  # replaced by the path
        "../../victim/settings", "../../../victim/settings", "..", "", "a/b", "a\\b", "ab" * 16 + "\0",
        "ab" * 16 + "\n", "AB" * 16, "x" * 5000, "\u0660" * 32, 7, None, ["ab" * 16],
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
@pytest.mark.parametrize("place", ["everywhere", "blend.json", "data.json", "member"])
def test_a_crafted_fingerprint_leads_nowhere(exported, tmp_path, away, victim, fingerprint, place):
    if fingerprint == "{victim}":
        fingerprint = str(victim.with_suffix(""))

    def change(content):
        if place == "everywhere":
            _everywhere(content, fingerprint)
        elif place == "member":
            name = _members(content)[0]
            _edit(name, lambda m: {**m, "recipe": {**m["recipe"], "data": fingerprint}})(content)
        else:
            field = "data" if place == "blend.json" else "fingerprint"
            _edit(place, lambda m: {**m, field: fingerprint})(content)

    with pytest.raises(DataError) as refused:
        import_blend(away, _changed(exported, tmp_path / "bad.zip", change))
    assert "is not a blend that this version reads" in str(refused.value)
    assert len(str(refused.value)) < 600
    assert victim.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"away", "bad.zip", "victim"}
    assert _files(away) == {}
    assert _files(victim.parent) == {"settings.json": b"mine"}


def _recipe(**parts):
    """Other parts of the recipe of an archive's first member."""

    def change(content):
        _edit(_members(content)[0], lambda m: {**m, "recipe": {**m["recipe"], **parts}})(content)

    return change


def _renamed(old, new):
    """Another name of an archive's entry, in its list as well."""

    def change(content):
        name = _members(content)[0] if old is None else old
        content[new] = content.pop(name)
        manifest = json.loads(content[MANIFEST])
        manifest["files"][new] = manifest["files"].pop(name)
        content[MANIFEST] = json.dumps(manifest).encode()

    return change


NAMES = {
    "a family of slashes": _recipe(family="../fcn"),
    "another family": _recipe(family="resnet"),
    "a key of slashes": lambda c: _edit(_members(c)[0], lambda m: {**m, "key": "../fcn-0123456789ab"})(c),
    "a column of slashes": lambda c: _edit(_members(c)[0], lambda m: {**m, "columns": ["../rss"]})(c),
    "a key in capitals": _renamed(None, "FCN-0123456789AB.json"),
    "an entry in capitals": _renamed("blend.json", "Blend.json"),
    "an entry that is absolute": _renamed("blend.json", "/blend.json"),
    "an entry of backslashes": _renamed("blend.json", "..\\blend.json"),
    "an entry of a very long name": _renamed(None, "f" * 5000 + "-0123456789ab.json"),
    "an entry with a line break": _renamed("blend.json", "blend.json\n"),
    "a member of the blend that is a path": _edit("blend.json", lambda m: {**m, "members": ["../../victim"]}),
    "an id of control characters": _edit("data.json", lambda m: {**m, "ids": ["\x1b[2J", *m["ids"][1:]]}),
    "an id of 5000 characters": _edit("data.json", lambda m: {**m, "ids": ["x" * 5000, *m["ids"][1:]]}),
    "a study of control characters": lambda c: _edit(
        _members(c)[0], lambda m: {**m, "trial": {**m["trial"], "study": "a\x1b[2J"}}
    )(c),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_crafted_name_is_refused_and_nothing_is_written(exported, tmp_path, away, victim, kind):
    with pytest.raises((DataError, UsageError)) as refused:
        import_blend(away, _changed(exported, tmp_path / "bad.zip", NAMES[kind]))
    assert len(str(refused.value)) < 600
    assert _files(away) == {}
    assert _files(victim.parent) == {"settings.json": b"mine"}
    assert {path.name for path in tmp_path.iterdir()} == {"away", "bad.zip", "victim"}


def _signed_npz(content, name, **arrays):
    """Other arrays in a file of an archive, whose record says its checksum as well."""
    _npz(content, name, **arrays)
    digest = hashlib.blake2b(content[name], digest_size=16).hexdigest()
    if name == "scores.npz":
        _edit("blend.json", lambda m: {**m, "checksum": digest})(content)
    else:
        record = name.removesuffix(".npz") + ".json"
        _edit(record, lambda m: {**m, "checksums": {**m["checksums"], "vectors.npz": digest}})(content)


def _arrays(content, name):
    with np.load(io.BytesIO(content[name])) as file:
        return dict(file)


def _with_arrays(name, change):
    """An archive whose arrays are others; of the first member where the name is None."""

    def changed(content):
        file = name or _first(content, ".npz")
        _signed_npz(content, file, **change(_arrays(content, file)))

    return changed


def _with_rule(change):
    """An archive whose rule's JSON is another."""

    def changed(content):
        text = json.loads(str(_arrays(content, "scores.npz")["json"]))
        change(text)
        _signed_npz(content, "scores.npz", json=np.array(json.dumps(text)))

    return changed


def _of_part(**values):
    return _with_rule(lambda text: text["parts"][0].update(values))


def _first_base(value):
    def change(arrays):
        base = arrays["base0"].copy()
        base[0, 0] = value
        return {"base0": base}

    return change


def _ids(change):
    return _edit("data.json", lambda m: {**m, "ids": change(m["ids"])})


CRAFTED = {
    "fewer test rows": (_with_arrays(None, lambda a: {"test": a["test"][:-1]}), "it is of another data set"),
    "no test rows": (_with_arrays(None, lambda a: {"test": a["test"][:0]}), "it is of another data set"),
    "more reference rows": (
        _with_arrays(None, lambda a: {"reference": np.repeat(a["reference"], 2, axis=0)}),
        "it is of another data set",
    ),
    "fewer ids": (_ids(lambda ids: ids[:-1]), "it is of another data set"),
    "more ids": (_ids(lambda ids: [*ids, "one more"]), "it is of another data set"),
    "an id twice": (_ids(lambda ids: [ids[0], *ids[:-1]]), "its ids are not distinct"),
    "fewer scores": (_with_arrays("scores.npz", lambda a: {"test": a["test"][:-1]}), "scores of 120 images"),
    "other held-out images": (_edit("data.json", lambda m: {**m, "n_reference": 3}), "it is of another data set"),
    "more held out than there are": (_edit("data.json", lambda m: {**m, "n_reference": 1 << 50}), "it holds out more"),
    "images of 4000 pixels": (_edit("data.json", lambda m: {**m, "shape": [4000, 4000, 3]}), "shape cannot be"),
    "images of 7 channels": (_edit("data.json", lambda m: {**m, "shape": [32, 32, 7]}), "shape cannot be"),
    "images that are flat": (_edit("data.json", lambda m: {**m, "shape": [32, 1]}), "shape cannot be"),
    "weights of 1e308 that are shown": (
        _edit("blend.json", lambda m: {**m, "weights": dict.fromkeys(m["weights"], 1e308)}),
        "is not a blend",
    ),
    "weights that are not the rule's": (
        _edit("blend.json", lambda m: {**m, "weights": dict.fromkeys(m["weights"], 0.5)}),
        "are not its rule's",
    ),
    "weights of 1e308": (
        _with_arrays("scores.npz", lambda a: {"part0.weights": np.full_like(a["part0.weights"], 1e308)}),
        "weights must be 0 or more",
    ),
    "weights that are negative": (
        _with_arrays("scores.npz", lambda a: {"part0.weights": -a["part0.weights"]}),
        "weights must be 0 or more",
    ),
    "weights that are NaN": (
        _with_arrays("scores.npz", lambda a: {"part0.weights": a["part0.weights"] * np.nan}),
        "weights must be 0 or more",
    ),
    "weights in words": (
        _with_arrays("scores.npz", lambda a: {"part0.weights": a["part0.weights"].astype(str)}),
        "is not a blend",
    ),
    "a centre of 1e308": (_of_part(centre=-1e308), "scores"),
    "a centre of NaN": (_of_part(centre=float("nan")), "do not belong together"),
    "a centre in words": (_of_part(centre="0"), "is not a blend"),
    "a scale of 0": (_of_part(scale=0.0), "do not belong together"),
    "a scale of 1e-308": (_of_part(scale=1e-308), "scores"),
    "a share of 1e308": (_of_part(share=1e308), "scores"),
    "no such combiner": (_of_part(combiner="none"), "is not a blend"),
    "no such normaliser": (_with_rule(lambda text: text["normalisers"][0].update(name="none")), "is not a blend"),
    "a base that is not there": (_with_rule(lambda text: text["normalisers"][0].update(base=10**9)), "is not a blend"),
    "no parts": (_with_rule(lambda text: text.update(parts=[])), "is not a blend"),
    "a column twice": (
        _with_rule(lambda text: text.update(names=[text["names"][0]] * len(text["names"]))),
        "or one comes twice",
    ),
    "ranks among infinities": (_with_arrays("scores.npz", _first_base(np.inf)), "do not belong together"),
    "a million trees": (_of_part(combiner="forest", trees=10**6), "is not a blend"),
    "other scores": (
        _with_arrays("scores.npz", lambda a: {"test": a["test"][::-1].copy()}),
        "does not give the scores",
    ),
    "scores of 1e308": (
        _with_arrays("scores.npz", lambda a: {"test": np.where(np.arange(120) % 2, 1e308, -1e308)}),
        "not finite",
    ),
    "vectors of 64 bits": (_with_arrays(None, lambda a: {"test": a["test"].astype(np.float64)}), "32 bits"),
    "vectors of infinity": (_with_arrays(None, lambda a: {"test": a["test"] * np.float32(np.inf)}), "finite numbers"),
    "vectors of 3e38": (
        _with_arrays(None, lambda a: {"test": np.full_like(a["test"], 3e38)}),
        "does not give the scores",
    ),
    "a value of 1e308": (
        lambda c: _edit(_members(c)[0], lambda m: {**m, "objective": {**m["objective"], "value": 1e308}})(c),
        "lacks objective",
    ),
    "a separation of 1e308": (
        _edit("blend.json", lambda m: {**m, "separation": {"value": 1e308, "standard_error": 0.1}}),
        "is not a blend",
    ),
    "a share of anomalies of 1e308": (_edit("blend.json", lambda m: {**m, "anomaly_share": 1e308}), "is not a blend"),
    "a probe of 1e999": (
        lambda c: c.update({MANIFEST: c[MANIFEST].replace(b'"format": 1', b'"format": 1, "x": 1e999')}),
        f"{MANIFEST} is damaged",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_archive_is_refused_in_one_line(exported, tmp_path, away, kind):
    change, said = CRAFTED[kind]
    with pytest.raises(DataError) as refused:
        import_blend(away, _changed(exported, tmp_path / "bad.zip", change))
    assert said in str(refused.value)
    assert len(str(refused.value)) < 700
    assert _files(away) == {}


def _weights(change):
    """An archive whose first fcn has other weights, and whose record says their checksum."""

    def changed(content):
        from safetensors.numpy import load, save

        name = next(name for name in content if name.startswith("fcn-") and name.endswith(".safetensors"))
        content[name] = save(change(load(content[name])))
        digest = hashlib.blake2b(content[name], digest_size=16).hexdigest()
        record = name.removesuffix(".safetensors") + ".json"
        _edit(record, lambda m: {**m, "checksums": {**m["checksums"], "weights.safetensors": digest}})(content)

    return changed


def _last(arrays, change):
    """The same arrays but the last layer's weights, which are others."""
    name = sorted(name for name in arrays if name.startswith("model.decoder.") and name.endswith("weight"))[-1]
    return {**arrays, name: change(arrays[name])}


WEIGHTS = {
    "infinite": lambda a: _last(a, lambda x: np.full_like(x, np.inf)),
    "of 1e308": lambda a: _last(a, lambda x: np.full(x.shape, 1e308)),
    "of 3e38": lambda a: {n: np.full_like(x, 3e38) if n.endswith("weight") else x for n, x in a.items()},
    "of other shapes": lambda a: _last(a, lambda x: np.concatenate([x, x])),
    "fewer": lambda a: {n: x for n, x in a.items() if n != "model.encoder.0.weight"},
    "none": lambda a: {},
    "whose latents are others": lambda a: {n: x[:1] if n.startswith("reference.") else x for n, x in a.items()},
    "whose spacing is short": lambda a: {n: x[:-1] if n.endswith("spacing") else x for n, x in a.items()},
    "whose banks are whole": lambda a: {n: x.astype(int) if n.endswith("bank") else x for n, x in a.items()},
    "whose axes are long": lambda a: {n: np.concatenate([x, x]) if n.endswith("axes") else x for n, x in a.items()},
    "whose latents lack a part": lambda a: {n: x for n, x in a.items() if not n.endswith("bank")},
}


@pytest.fixture(scope="module")
def of_all_columns(studies_folder, tmp_path_factory):
    """An archive of a blend of all columns of the family fcn."""
    folder = tmp_path_factory.mktemp("all")
    studies = shutil.copytree(studies_folder, folder / "studies")
    for command in ("blend --members fcn --columns all --name all", f"export all -o {folder / 'all.zip'}"):
        result = CliRunner().invoke(main, [*command.split(), "--studies", str(studies)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return folder / "all.zip"


@pytest.mark.parametrize("probed", [True, False], ids=["with a probe", "without"])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_a_model_of_crafted_weights_is_refused_in_one_line(run_ensad, of_all_columns, tmp_path, away, kind, probed):
    def change(content):
        _weights(WEIGHTS[kind])(content)
        if not probed:
            _edit(MANIFEST, lambda m: {**m, "probe": None})(content)

    bad = _changed(of_all_columns, tmp_path / "bad.zip", change)
    result = run_ensad("import", bad, "--studies", away)
    assert (result.exit_code in (3, 4), result.stdout, result.stderr.count("\n")) == (True, "", 1), result.output
    assert _files(away) == {}


def _architecture(**parts):
    def change(content):
        name = next(name for name in _members(content) if name.startswith("resnet-"))
        _edit(name, lambda m: {**m, "recipe": {**m["recipe"], "architecture": m["recipe"]["architecture"] | parts}})(
            content
        )

    return change


@pytest.mark.parametrize(
    "change",
    [
        _architecture(blocks=[10**6, 1, 1, 1]),
        _architecture(width=10**9),
        _architecture(width=-1),
        _architecture(blocks="many"),
        _architecture(nothing=1),
        _architecture(blocks=[1, 1, 1, 10**30]),
    ],
    ids=["a million layers", "a billion wide", "less than none", "words", "no such part", "a huge number"],
)
def test_a_network_of_any_form_is_refused_in_one_line(run_ensad, exported, tmp_path, away, change):
    result = run_ensad("import", _changed(exported, tmp_path / "bad.zip", change), "--studies", away)
    assert (result.exit_code in (2, 3, 4), result.stdout, result.stderr.count("\n")) == (True, "", 1), result.output
    assert _files(away) == {}


def test_a_pipe_is_no_archive_and_is_not_waited_for(run_ensad, tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    result = run_ensad("import", "pipe.zip")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)


# An import that ends half way


@pytest.mark.parametrize("error", [StorageError("no space is left"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("number", range(6))
def test_an_import_that_fails_leaves_none_of_its_members(exported, studies, away, monkeypatch, number, error):
    # The second time, two of its members are there already, and stay.
    first = export_blend(studies, load_blend(studies, "both"), away.parent / "first.zip")
    for there in (False, True):
        if there:
            import_blend(away, first)
            shutil.rmtree(away / "blends")
            for key in sorted(path.name for path in (away / "members").iterdir())[2:]:
                shutil.rmtree(away / "members" / key)
        before, calls = _files(away) if there else {}, iter(range(100))

        @contextmanager
        def failing(path, calls=calls):
            if next(calls) == number:
                raise error
            with whole_folder(path) as part:
                yield part

        with monkeypatch.context() as patch:
            patch.setattr("ensemble_ad.members.arrived.whole_folder", failing)
            if number < (3 if there else 5):
                with pytest.raises(type(error)):
                    import_blend(away, exported)
                assert _files(away) == before
            else:
                import_blend(away, exported)
        shutil.rmtree(away)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_killed_import_leaves_whole_members_and_can_be_done_again(exported, away, number):
    program = f"""
import os, sys
from pathlib import Path
from ensemble_ad.members import arrived
folder, calls = arrived.Arrival.folder, []
def killed(self, staged, place):
    calls.append(place)
    if len(calls) > {number}:
        os._exit(9)
    folder(self, staged, place)
arrived.Arrival.folder = killed
from ensemble_ad.blend.imported import import_blend
import_blend(Path({str(away)!r}), Path({str(exported)!r}))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 9
    members, problems = list_members(away)
    assert (len(members), problems) == (number, [])
    for member in members:
        member.verify()
    assert list_blends(away) == ([], [])
    assert import_blend(away, exported).name == "both"
    assert len(list_members(away)[0]) == 4


def test_a_record_of_other_images_under_the_same_fingerprint_is_kept(exported, away):
    blend = import_blend(away, exported)
    path = away / "data" / f"{blend.data}.json"
    shutil.rmtree(away / "blends")
    write_json(path, {**read_json(path), "ids": ["one"]})
    before = _files(away)
    with pytest.raises(StorageError, match=r"is there already, of other images; import into another folder"):
        import_blend(away, exported)
    assert _files(away) == before
