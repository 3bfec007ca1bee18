"""Bad input gets one clear line on stderr and its exit code, writes no file and loses none."""

import errno
import os
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ensemble_ad.members.store import load_member

USAGE, DATA, STORAGE = 2, 3, 4
TUNE = ("tune", "--family", "fcn", "--trials", 1, "--epochs", 1, "--max-width", 128)
CHECK = ("data", "check")


def _files(folder: Path) -> dict[str, bytes]:
    """All files but decoded images, which a refused command may leave for the next one."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: content for name, content in found.items() if not name.startswith("studies/preprocessed/")}


@pytest.fixture
def refuses(run_ensad, tmp_path):
    """Runs a command that has to fail with `code` and one line that holds `said`, and to leave every file as it was."""

    def check(*arguments: object, code: int, said: str | tuple[str, ...]) -> None:
        before = _files(tmp_path)
        result = run_ensad(*arguments)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1, result.stderr
        for part in (said,) if isinstance(said, str) else said:
            assert part in result.stderr
        assert _files(tmp_path) == before

    return check


# The data


@pytest.mark.parametrize("command", [CHECK, TUNE, ("train", "--preset", "fcn-sample")], ids=lambda c: c[0])
def test_a_missing_data_folder(refuses, command):
    said = "the data folder none does not exist; put trainingset.npy and testingset.npy there, or name the folder"
    refuses(*command, "--data", "none", code=DATA, said=said)


def test_a_data_folder_without_training_images(refuses, data):
    (data / "trainingset.npy").unlink()
    refuses(*CHECK, code=DATA, said="data must hold trainingset.npy or a folder train/ of images, and has neither")


class _Payload:
    """What an attacker would put in a pickle: on loading, it makes the folder `ran`."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("command", [CHECK, TUNE], ids=lambda c: c[0])
def test_pickled_objects_are_not_loaded_and_do_not_run(refuses, data, tmp_path, command):
    path = data / "trainingset.npy"
    np.save(path, np.array([_Payload()], dtype=object), allow_pickle=True)
    refuses(
        *command, code=DATA, said="trainingset.npy holds pickled objects, which could run code and are never opened"
    )
    assert not (tmp_path / "ran").exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever numpy makes of None; the point is that it would run
        raise RuntimeError(np.load(path, allow_pickle=True))
    assert (tmp_path / "ran").exists()


def test_a_bare_pickle_is_not_loaded_and_does_not_run(refuses, data, tmp_path):
    (data / "trainingset.npy").write_bytes(pickle.dumps(_Payload()))
    refuses(*CHECK, code=DATA, said="trainingset.npy must be a .npy file, but does not start like one")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["trainingset.npy", "testingset.npy"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda x: x.repeat(3, axis=3).transpose(0, 3, 1, 2),
            ("axes (N, height, width, 1 or 3), but has (", ", 3, 32, 32); its channels come second, use x.transpose("),
        ),
        (lambda x: x.reshape(len(x), -1), ("must have the axes", ", 1024)")),
        (lambda x: x[None], ("must have the axes (N, height, width, 1 or 3), but has (1, ", ", 32, 32, 1)")),
        (lambda x: x[:0], "must hold at least one image, but holds none: (0, 32, 32, 1)"),
        (lambda x: x[:, :7, :12], "8 pixels"),
    ],
    ids=["channels first", "2-D", "5-D", "no images", "too small"],
)  # fmt: skip
def test_arrays_that_are_no_images(refuses, data, name, change, said):
    np.save(data / name, change(np.load(data / name)))
    refuses(*CHECK, code=DATA, said=(f"data/{name} ", *((said,) if isinstance(said, str) else said)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "trainingset.npy",
            "image 0 of data/testingset.npy has 8 bits a channel, but the training pictures have more;",
        ),
        ("testingset.npy", "data/testingset.npy has more than 8 bits a channel, but data/trainingset.npy has 8;"),
    ],
)
def test_two_sets_of_different_depth(run_ensad, data, name, said):
    np.save(data / name, (np.load(data / name) / 255).astype(np.float32))
    result = run_ensad(*CHECK)
    assert result.exit_code == DATA
    assert said in result.stderr


_HUGE = b"{'descr': '|u1', 'fortran_order': False, 'shape': (81380208, 64, 64, 3), }".ljust(117) + b"\n"


@pytest.mark.parametrize("name", ["trainingset.npy", "testingset.npy"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda x: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 1228800128\n",
            "is a Git-LFS pointer of 135 bytes, not the images; run `git lfs pull` where it was cloned",
        ),
        (
            lambda x: x[: len(x) // 2],
            "is cut off or damaged (mmap length is greater than file size); download it again",
        ),
        (lambda x: x[:70], "is cut off or damaged"),
        (lambda x: b"\x93NUMPY\x01\x00\x76\x00" + _HUGE + x[128:], "is cut off or damaged"),
        (lambda x: b"PK\x03\x04" + x, "must be a .npy file, but does not start like one; save it with numpy.save"),
        (lambda x: b"", "must be a .npy file, but does not start like one"),
    ],
    ids=["LFS pointer", "cut off", "header cut off", "1e12 elements", "not a .npy", "empty"],
)
def test_files_that_are_no_arrays(refuses, data, name, damage, said):
    (data / name).write_bytes(damage((data / name).read_bytes()))
    refuses(*CHECK, code=DATA, said=(f"data/{name} ", said))


def test_the_forged_header_of_1e12_elements_is_valid_but_for_its_number(tmp_path):
    header = b"\x93NUMPY\x01\x00\x76\x00" + _HUGE.replace(b"81380208", b"       2")
    (tmp_path / "a.npy").write_bytes(header + bytes(2 * 64 * 64 * 3))
    assert np.load(tmp_path / "a.npy").shape == (2, 64, 64, 3)


def test_training_and_test_images_of_different_sizes(refuses, data):
    np.save(data / "testingset.npy", np.load(data / "testingset.npy").repeat(2, axis=1).repeat(2, axis=2))
    said = "must have one shape, but trainingset.npy has 32x32x1 and testingset.npy 64x64x1"
    refuses(*TUNE, code=DATA, said=said)


@pytest.mark.parametrize(
    "command", [("tune", "--family", "resnet"), ("train", "--preset", "resnet-boss")], ids=lambda c: c[0]
)
def test_a_side_that_the_family_cannot_take(refuses, data, command):
    for name in ("trainingset.npy", "testingset.npy"):
        np.save(data / name, np.load(data / name)[:, :24, :24])
    said = (
        "resnet takes images whose sides are multiples of 32 (32, 64, ... up to 256), not 24x24; resize with --size 32"
    )
    refuses(*command, code=USAGE, said=said)


def test_a_preset_is_trained_at_the_size_that_the_refusal_advises(refuses, run_ensad, data):
    for name in ("trainingset.npy", "testingset.npy"):
        np.save(data / name, np.load(data / name)[:, :20, :20])
    command = ("train", "--preset", "cnn-sample", "--epochs", 1, "--batch-size", 64)
    refuses(*command, code=USAGE, said="not 20x20; resize with --size 16")
    result = run_ensad(*command, "--size", 16)
    assert result.exit_code == 0, result.stderr
    assert load_member(Path("studies"), result.stdout.strip()).info.recipe.json["preprocess"]["size"] == [16, 16]


def test_too_few_training_images(refuses, data):
    np.save(data / "trainingset.npy", np.load(data / "trainingset.npy")[:39])
    refuses(*TUNE, code=DATA, said="at least 40 training images are needed, and there are 39; add more")


def test_data_check_tells_what_makes_a_study_worthless_and_fails(run_ensad, data):
    np.save(data / "testingset.npy", np.load(data / "trainingset.npy")[:120])
    result = run_ensad(*CHECK)
    assert result.exit_code == DATA
    assert "error   120 of 120 test images are also training images" in result.stdout
    assert result.stderr == "Error: 1 of these would make a study worthless; mend the data first\n"


def _black(images: np.ndarray) -> np.ndarray:
    return images * 0


def _one_image(images: np.ndarray) -> np.ndarray:
    return images[:1].repeat(len(images), axis=0)


def _constant(images: np.ndarray) -> np.ndarray:
    return images * 0 + np.arange(len(images), dtype=np.uint8)[:, None, None, None]


@pytest.mark.parametrize("command", [TUNE, ("train", "--preset", "pca-10")], ids=lambda c: c[0])
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("trainingset.npy", _black, "train: values from 0 to 0"),
        ("trainingset.npy", _one_image, "train: 199 exact duplicates"),
        ("trainingset.npy", _constant, "train: 200 constant images"),
        ("testingset.npy", _black, "test: values from 0 to 0"),
        ("testingset.npy", _one_image, "test: 119 exact duplicates"),
        ("testingset.npy", lambda x: x[:100], "the ids of the 100 test images: 20 unknown"),
    ],
    ids=["black", "one image", "constant", "black test", "one test image", "another sample"],
)  # fmt: skip
def test_what_the_check_calls_an_error_stops_training(refuses, data, command, name, change, said):
    np.save(data / name, change(np.load(data / name)))
    advice = "what is trained on this would be worthless; mend the data, or pass --anyway"
    refuses(*command, code=DATA, said=(said, advice))


@pytest.mark.parametrize("command", [TUNE, ("train", "--preset", "pca-10")], ids=lambda c: c[0])
def test_training_goes_on_anyway_where_the_user_says_so(refuses, run_ensad, data, command):
    np.save(data / "testingset.npy", np.load(data / "trainingset.npy")[:120])
    said = "120 of 120 test images are also training images"
    refuses(*command, code=DATA, said=said)
    result = run_ensad(*command, "--anyway", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert f"warning: {said}\n" in result.stderr


# Folders of images


@pytest.fixture
def pictures(tmp_path, photos):
    """`data/train` and `data/test`, 60 and 20 photographs as PNG."""
    for name, some in (("train", photos(80, 32, 3)[:60]), ("test", photos(80, 32, 3)[60:])):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for i, pixels in enumerate(some):
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda f, x: Image.fromarray(x[:7, :20]).save(f / "03.png"),
            "data/train/03.png must have at least 8 pixels a side, but is 20x7; remove it",
        ),
        (lambda f, x: (f / "03.png").write_text("hello"), "data/train/03.png cannot be read as an image ("),
        (
            lambda f, x: Image.fromarray(x[..., 0].astype(np.uint16)).save(f / "03.png"),
            "data/train/00.png has 8 bits a channel, but the training pictures have more; save it as those",
        ),
        (
            lambda f, x: [p.unlink() for p in f.iterdir()],
            "data/train must hold images (PNG, JPEG, ...), but holds none",
        ),
    ],
    ids=["too small", "unreadable", "16 bits", "empty"],
)
def test_a_folder_of_images_that_cannot_be_used(refuses, pictures, photos, spoil, said):
    spoil(pictures / "train", photos(1, 32, 3)[0])
    refuses(*CHECK, code=DATA, said=said)


@pytest.mark.parametrize("colour", [None, "train/03.png", "test/03.png"])
def test_grey_and_colour_may_mix_in_a_folder_but_not_between_sets(run_ensad, pictures, photos, colour):
    for path in pictures.rglob("*.png"):
        with Image.open(path) as picture:
            grey = picture.convert("L")
        grey.save(path)
    if colour:
        Image.fromarray(photos(1, 32, 3)[0]).save(pictures / colour)
    result = run_ensad(*CHECK)
    if colour:
        channels = (3, 1) if colour.startswith("train") else (1, 3)
        assert "train has 32x32x{} and test 32x32x{}".format(*channels) in result.stderr
        assert result.exit_code == DATA
    else:
        assert "(32, 32, 1) uint8" in result.stdout
        assert result.exit_code == 0


def test_a_pictures_id_is_its_name_and_a_second_read_decodes_none(run_ensad, pictures, monkeypatch):
    (pictures / "sample_submission.csv").write_text("ID,score\n" + "".join(f"{i:02}.png,0\n" for i in range(20)))
    first = run_ensad(*CHECK)
    assert first.exit_code == 0
    assert "sample_submission.csv: 20 ids, 00.png to 19.png, all of them test images" in first.stdout
    monkeypatch.setattr(Image, "open", None)
    assert run_ensad(*CHECK).stdout == first.stdout


# Labels


def _rows(path: Path, change) -> None:
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *change(rows)]))


@pytest.mark.parametrize("command", [("evaluate",), TUNE], ids=lambda c: c[0])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[2:], "must have the ids of the 120 test images: 2 missing ('0', '1')"),
        (lambda rows: [*rows, rows[0]], "must name each id once, but '0' comes again on line 122"),
        (lambda rows: [*rows, "120,1"], "must have the ids of the 120 test images: 1 unknown ('120')"),
        (
            lambda rows: [f"{i},1" for i in range(120)],
            "must hold both classes, but every label is 1; an AUC needs both",
        ),
        (lambda rows: ["0,2", *rows[1:]], "a label must be 0 (normal) or 1 (anomaly), but the one of '0' is '2'"),
        (lambda rows: [], "must have a row an image, but has none"),
    ],
    ids=["missing ids", "a repeated id", "an extra id", "one class", "another value", "no rows"],
)
def test_labels_that_do_not_fit(refuses, data, studies, command, change, said):
    _rows(data / "labels.csv", change)
    refuses(*command, "--labels", "data/labels.csv", code=DATA, said=("data/labels.csv", said))


@pytest.mark.parametrize("command", [("evaluate",), TUNE], ids=lambda c: c[0])
def test_missing_labels(refuses, data, studies, command):
    refuses(*command, "--labels", "none.csv", code=DATA, said="the file none.csv does not exist; name another")


@pytest.mark.parametrize(
    ("objective", "labels", "said"),
    [("labels", (), "--objective labels needs --labels FILE"), ("loss", ("--labels", "l.csv"), "leave --labels out")],
)
def test_an_objective_and_labels_that_do_not_go_together(refuses, data, objective, labels, said):
    refuses(*TUNE, "--objective", objective, *labels, code=USAGE, said=said)


# Names and numbers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tune", "--family", "gan"), "unknown family 'gan'; the families are fcn, "),
        ((*TUNE, "--objective", "luck"), "unknown objective 'luck'; the objectives are auto, separation, synthetic"),
        (("train", "--preset", "fcn-bos"), ("unknown preset 'fcn-bos'; the presets are", "fcn-boss")),
        (("tune", "--family", "fcn", "--trials", 0), "--trials must be 1 or more, not 0"),
        (("tune", "--family", "fcn", "--trials", -3), "--trials must be 1 or more, not -3"),
        (("tune", "--family", "fcn", "--epochs", 0), "--epochs must be 1 or more, not 0"),
        (("train", "--preset", "fcn-sample", "--epochs", 0), "epochs must be 1 or more, not 0"),
        (("train", "--preset", "fcn-sample", "--batch-size", 0), "batch_size must be 1 or more, not 0"),
        ((*TUNE, "--subset", 5), "--subset must be 20 or more, not 5"),
        (("train", "--preset", "fcn-sample", "--subset", 5), "--subset must be 20 or more, not 5"),
        (("blend", "--members", "vae"), "no member or family 'vae' is cached for this data; there are fcn (2)"),
        (("blend", "--members", "fcn-0123456789ab"), "no member or family 'fcn-0123456789ab'"),
        (("blend", "--members", "fcn:0"), "the count after ':' must be a positive number or 'all', not '0'"),
        (("blend", "--members", "fcn,fcn:1"), "--members must name each member once"),
        (("blend", "--members", "fcn,resnet", "--weights", "1"), "one number a term of --members: 2, not 1"),
        (("blend", "--members", "fcn,resnet", "--weights", "1,x"), "must be numbers with commas between, as in 2,1"),
        (("blend", "--members", "fcn,resnet", "--weights", "1,-1"), "must be finite, 0 or more, and not all 0: '1,-1'"),
        (("blend", "--members", "fcn,resnet", "--weights", "0,0"), "must be finite, 0 or more, and not all 0: '0,0'"),
        (("blend", "--members", "fcn,resnet", "--weights", "nan,1"), "must be finite"),
        (("blend", "--method", "luck"), ("'luck'", "known are auto, mean")),
        (("blend", "--name", "../a"), "a blend's name must be letters, digits"),
        (("blend", "--members", "fcn", "--name", "both"), "the name 'both' is taken by another blend"),
        (("blend", "--dataset", "zz"), "--dataset must begin one data set's fingerprint, and 'zz' begins 0"),
        (("evaluate", "--blend", "none"), "unknown blend 'none'; the blends in studies are both"),
        (("submit", "--blend", "none"), "unknown blend 'none'; the blends in studies are both"),
        (("compare", "--blend", "none"), "unknown blend 'none'; the blends in studies are both"),
        (("compare", "--format", "parquet"), "parquet is not text; name a file with -o FILE"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_names_and_numbers_that_do_not_exist(refuses, data, studies, arguments, said):
    refuses(*arguments, code=USAGE, said=said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("blend",), "there is no member in studies; run `ensad tune --family fcn --trials 50` first"),
        (("evaluate",), "there is no member in studies; run `ensad tune"),
        (("submit",), "there is no blend in studies; run `ensad tune --family fcn --trials 50` first"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_that_come_too_early(refuses, data, arguments, said):
    refuses(*arguments, code=USAGE, said=said)


# Submissions


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "asks for 119 ids, but there are scores for 120 test images"),
        (lambda rows: [*rows[1:], "x,0"], "1 missing ('0') and 1 unknown ('x')"),
        (lambda rows: [*rows[1:], rows[-1]], "must name each id once, but '119' comes again"),
    ],
    ids=["too few", "unknown id", "repeated id"],
)
def test_a_sample_submission_of_other_images(refuses, data, studies, change, said):
    _rows(data / "sample_submission.csv", change)
    refuses("submit", code=DATA, said=("data/sample_submission.csv ", said))


def test_a_named_sample_submission_that_does_not_exist(refuses, data, studies):
    refuses("submit", "--sample", "none.csv", code=DATA, said="the sample submission none.csv does not exist")


def test_a_file_in_the_place_of_submissions(refuses, data, studies, tmp_path):
    (tmp_path / "submissions").write_text("mine")
    said = "cannot write to submissions/mine: Not a directory; look at that path"
    refuses("submit", "--submissions", "submissions/mine", code=STORAGE, said=said)


# The studies folder


def _fail_with(number: int):
    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# Root is refused nothing and no disk is filled here: the call that would meet the fault fails with the system's errno.
@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "no space is left; free some space"), (errno.EACCES, "permission denied; make it")],
)
@pytest.mark.parametrize(
    ("command", "call", "path"),
    [
        (("blend", "--members", "fcn"), "os.mkdir", "studies/blends/"),
        (("blend", "--members", "fcn"), "os.fsync", "studies/blends/"),
        (("evaluate",), "os.fsync", "studies/evaluations/"),
        (("submit",), "os.fsync", "submissions/"),
        (("submit",), "os.open", "submissions/"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value.strip("/"),
)
def test_no_space_and_no_permission(refuses, data, studies, monkeypatch, command, call, path, number, said):
    monkeypatch.setattr(call, _fail_with(number))
    refuses(*command, code=STORAGE, said=("cannot write ", path, said))


def test_a_study_without_space_ends_with_one_line_and_keeps_its_members(run_ensad, data, studies, monkeypatch):
    before = _files(studies / "members")
    monkeypatch.setattr(os, "fsync", _fail_with(errno.ENOSPC))
    result = run_ensad(*TUNE, "--seed", 1, "-q")
    assert result.exit_code == STORAGE
    assert result.stderr.startswith("Error: cannot write studies/")
    assert result.stderr.endswith("no space is left; free some space and run the same command again\n")
    assert result.stderr.count("\n") == 1
    assert _files(studies / "members") == before


def test_a_read_only_studies_folder_is_told_before_anything_is_trained(refuses, data, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    refuses(
        *TUNE, code=STORAGE, said="cannot write to studies: permission denied; make it writable or name another folder"
    )


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs Linux's sysfs, where even root makes no folders")
def test_a_studies_folder_where_none_can_be_made(refuses, data):
    refuses(*TUNE, "--studies", "/sys/kernel/ensad", code=STORAGE, said="cannot write to /sys/kernel/ensad: permission")


@pytest.mark.slow
def test_a_member_without_space_leaves_the_others_and_is_made_later(run_ensad, data, studies, tmp_path, monkeypatch):
    before = _files(studies / "members")
    with monkeypatch.context() as patch:
        mkdir = os.mkdir

        def no_space(path, *mode):
            return _fail_with(errno.ENOSPC)() if ".fcn-" in str(path) else mkdir(path, *mode)

        patch.setattr(os, "mkdir", no_space)  # what a member's folder is begun with
        result = run_ensad("train", "--preset", "fcn-sample", "--epochs", 1)
    assert result.exit_code == STORAGE
    assert result.stderr.splitlines()[-1].startswith("Error: cannot write to studies/members: ")
    assert "no space is left" in result.stderr.splitlines()[-1]
    assert _files(studies / "members") == before
    key = run_ensad("train", "--preset", "fcn-sample", "--epochs", 1, "-q").stdout.strip()
    assert (studies / "members" / key / "member.json").exists()


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4000], ids=["text", "torn"]
)
def test_a_studies_database_that_is_none(refuses, data, studies, content):
    (studies / "studies.db").write_bytes(content)
    refuses(*TUNE, code=STORAGE, said=("cannot open studies/studies.db", "not an Optuna storage that can be used"))


def test_a_foreign_database_is_refused_and_keeps_its_rows(run_ensad, data, studies):
    (studies / "studies.db").unlink()
    database = sqlite3.connect(studies / "studies.db")
    database.execute("CREATE TABLE studies (mine TEXT)")
    database.execute("INSERT INTO studies VALUES ('precious')")
    database.commit()
    result = run_ensad(*TUNE, "-q")
    assert result.exit_code == STORAGE
    assert result.stderr.startswith(
        "Error: the studies' database failed: (sqlite3.OperationalError) table studies has no"
    )
    assert result.stderr.count("\n") == 1
    assert database.execute("SELECT * FROM studies").fetchall() == [("precious",)]
    database.close()


def test_an_unknown_storage_url_is_refused_without_its_password(refuses, data):
    url = "nosuchdialect://me:secret@host/db"
    refuses(*TUNE, "--storage", url, code=STORAGE, said="cannot open the storage named by --storage")


@pytest.mark.parametrize("command", ["submit", "submit --blend both", "blend --name both --members fcn"])
def test_a_damaged_blend_that_is_needed_or_may_be_is_an_error(run_ensad, data, studies, command):
    (studies / "blends" / "both" / "blend.json").write_text("{")
    result = run_ensad(*command.split())
    assert result.exit_code == STORAGE
    assert result.stderr.splitlines()[-1].startswith("Error: studies/blends/both/blend.json must be JSON: ")


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_damaged_blend_is_named_and_left_out_of_a_table(run_ensad, data, studies, command):
    (studies / "blends" / "both" / "blend.json").write_text("{")
    result = run_ensad(command, "-q")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: studies/blends/both/blend.json must be JSON: ")
    assert "both" not in result.stdout
    assert "fcn-" in result.stdout


def test_a_damaged_member_is_named_and_the_others_are_used(run_ensad, data, studies):
    some = sorted((studies / "members").iterdir())[0]
    (some / "member.json").write_text("{}")
    result = run_ensad("blend", "-q")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: studies/members/{some.name}/member.json is not the member {some.name}")
    assert some.name not in result.stdout


def test_a_damaged_evaluation_is_named(refuses, data, studies):
    (studies / "evaluations").mkdir()
    (record,) = (studies / "data").iterdir()
    (studies / "evaluations" / record.name).write_text("[1, 2]")
    refuses("compare", code=STORAGE, said=(f"studies/evaluations/{record.name} ", "run `ensad evaluate` again"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of a file")
@pytest.mark.parametrize(
    ("kib", "said"),
    [
        (8, "cannot open studies/studies.db: OperationalError"),
        (200, ".npy: File too large; look at that path"),
        (300, "File too large; look at that path"),
    ],
    ids=["database", "images", "weights"],
)
def test_a_truly_limited_disk_is_one_clear_line(data, tmp_path, kib, said):
    # A limit on a file's size is a real refusal of the system, which meets the smallest of the files that exceed it.
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({kib * 1024}, {kib * 1024}))\n"
        "from ensemble_ad.cli import main; main()"
    )
    command = [sys.executable, "-c", script, *map(str, TUNE), "--device", "cpu", "-q"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == STORAGE, result.stderr
    assert result.stderr.startswith("Error: cannot ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not any((tmp_path / "studies").glob("members/*"))
