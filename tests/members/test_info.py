"""A member's record: what an older version wrote is read, what is read is written again, and the rest is refused."""

import json
import math

import pytest

from ensemble_ad.files.json_file import read_json
from ensemble_ad.members.info import EpochInfo, MemberInfo, TrialInfo
from ensemble_ad.members.measured import Objectives, UnfitError
from ensemble_ad.members.store import list_members


@pytest.fixture(scope="module")
def records(studies_folder):
    """The contents of real members' files."""
    return [read_json(member.folder / "member.json") for member in list_members(studies_folder)[0]]


@pytest.fixture
def record(records):
    """The contents of one, to be changed."""
    return json.loads(json.dumps(records[0]))


def test_what_is_read_is_written_again(records):
    assert len(records) == 4
    for value in records:
        info = MemberInfo.from_json(value)
        assert info.to_json() == value
        assert MemberInfo.from_json(info.to_json()) == info


def test_a_record_says_what_a_study_noted(record):
    info = MemberInfo.from_json(record)
    assert info.key == record["key"]
    assert info.recipe.json == record["recipe"]
    assert isinstance(info.trial, TrialInfo)
    assert info.source == f"trial {record['trial']['number']}"
    assert [epoch.number for epoch in info.history] == [1]
    assert info.objectives.separation == info.separation
    assert set(info.checksums) == {"vectors.npz", "weights.safetensors"}


OPTIONAL = ("separation", "trial", "objectives", "history", "environment", "transductive", "preset", "origin")


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("null", [False, True], ids=["absent", "null"])
def test_what_an_older_version_did_not_note_may_be_absent_or_null(record, name, null):
    record.pop(name, None)
    if null:
        record[name] = None
    info = MemberInfo.from_json(record)
    assert getattr(info, name) in (None, False, (), {}, Objectives())
    assert MemberInfo.from_json(info.to_json()) == info


def test_a_record_without_all_that_may_be_absent_is_read(record):
    old = {name: value for name, value in record.items() if name not in OPTIONAL}
    assert MemberInfo.from_json(old).source == ""


REQUIRED = ("recipe", "objective", "best_epoch", "parameters", "seconds", "columns", "checksums", "created")


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "x", 1.5, [], {}], ids=str)
def test_what_every_record_holds_is_refused_by_name_in_another_form(record, name, value):
    if name in ("columns", "checksums", "created") and isinstance(value, type(record[name])):
        value = 7
    with pytest.raises(UnfitError, match=f"^{name}$"):
        MemberInfo.from_json({**record, name: value})
    del record[name]
    with pytest.raises(UnfitError, match=f"^{name}$"):
        MemberInfo.from_json(record)


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_may_be_absent_is_refused_by_name_in_another_form(record, name):
    value = 7 if name in ("preset", "origin") else "7"
    with pytest.raises(UnfitError, match=f"^{name}$"):
        MemberInfo.from_json({**record, name: value})


def _at(*path):
    """Puts a value where a path of names leads to."""

    def change(record, value):
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value

    return change


FINGERPRINT, SHOWN = "the fingerprint of its data", "texts and numbers to show"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("recipe", "data"), "../../../victim/settings", FINGERPRINT),
        (("recipe", "data"), "/etc/passwd", FINGERPRINT),
        (("recipe", "data"), "AB" * 16, FINGERPRINT),
        (("recipe", "family"), "resnet", "columns"),
        (("recipe", "preprocess"), {"crop": [1.0]}, "recipe"),
        (("recipe", "preprocess", "size"), ["32"], SHOWN),
        (("recipe", "preprocess", "crop"), [], SHOWN),
        (("recipe", "training", "epochs"), 1 << 60, "recipe"),
        (("recipe", "training", "epochs"), -1, "recipe"),
        (("objective", "value"), 1e308, "objective"),
        (("separation", "value"), -1e200, "separation"),
        (("seconds", "train"), 1e308, "seconds"),
        (("parameters",), True, "parameters"),
        (("environment",), {"a\nb": "x"}, SHOWN),
        (("objectives", "synthetic", "kinds"), {"a\x1b": 0.5}, "objectives"),
        (("history", 0, "value"), 1e101, "history"),
        (("recipe", "training", "seed"), "0", SHOWN),
        (("recipe", "labels"), "a\x1b[2J", SHOWN),
        (("recipe", "version"), [4], SHOWN),
        (("recipe", "subset"), "all", SHOWN),
        (("objective", "value"), "0.5", "objective"),
        (("objective", "column"), "none", "columns"),
        (("objective", "standard_error"), "0.1", SHOWN),
        (("objective", "name"), "x" * 300, SHOWN),
        (("columns",), ["rss", "rss"], "columns"),
        (("columns",), ["rss", "../rss"], "columns"),
        (("columns",), ["rss", 5], "columns"),
        (("key",), "fcn", "columns"),
        (("key",), ["fcn-0123456789ab"], "columns"),
        (("seconds", "train"), None, "seconds"),
        (("separation",), {"value": 0.5}, "separation"),
        (("trial",), {"number": 0}, "trial"),
        (("trial", "number"), "0", "trial"),
        (("trial", "study"), "a\nb", SHOWN),
        (("trial", "parameters"), ["width"], "trial"),
        (("trial", "parameters", "width"), [1, 2], "trial"),
        (("trial", "parameters", "width"), {}, "trial"),
        (("trial", "parameters", "width"), "a\x1b", "trial"),
        (("trial", "parameters", "width"), 1e308, "trial"),
        (("objectives", "synthetic", "kinds", "shift"), 1.5, "objectives"),
        (("environment", "device"), 5, SHOWN),
        (("history",), ["one"], "history"),
        (("history",), [{"epoch": 1}], "history"),
        (("history", 0, "parts"), "2", "history"),
        (("history", 0, "refused"), "a\x1b", "history"),
        (("history", 0, "refused"), 2, "history"),
        (("history", 0, "loss"), "low", "history"),
        (("objectives", "separation"), 0.5, "objectives"),
        (("objectives", "share"), {"value": 0.1}, "objectives"),
        (("objectives", "synthetic"), {"value": 0.5, "standard_error": 0.1}, "objectives"),
        (
            ("objectives", "synthetic"),
            {"value": 0.5, "standard_error": 0.1, "kinds": {"shift": "high"}},
            "objectives",
        ),
        (("objectives", "implausible"), "rss", "objectives"),
        (("objectives", "implausible"), [5], "objectives"),
        (("checksums", "vectors.npz"), 5, "checksums"),
        (("checksums",), {"vectors.npz": "../x"}, "checksums"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else str(value)[:20],
)  # fmt: skip
def test_a_part_that_cannot_be_is_refused_by_name(record, path, value, said):
    _at(*path)(record, value)
    with pytest.raises(UnfitError, match=f"^{said}$"):
        MemberInfo.from_json(record)


@pytest.mark.parametrize("value", [[], "text", None, 5])
def test_what_is_no_record_at_all_is_refused(value):
    with pytest.raises(UnfitError, match=r"^recipe"):
        MemberInfo.from_json(value)


def test_a_standard_error_that_is_not_known_is_left_out(record):
    del record["objective"]["standard_error"]
    info = MemberInfo.from_json(record)
    assert math.isnan(info.objective.standard_error)
    assert info.to_json()["objective"] == record["objective"]


def test_an_epoch_notes_its_parts_only_where_there_are_several():
    epoch = EpochInfo(number=1, loss=0.5, value=0.6, rate=100.0)
    assert "parts" not in epoch.to_json()
    several = EpochInfo(number=1, loss=0.5, value=0.6, rate=100.0, parts=4)
    assert EpochInfo.from_json(several.to_json()) == several


def test_an_epoch_notes_that_a_graph_was_refused_and_the_member_tells(record):
    refused = "CUDA error: operation not permitted when stream is capturing"
    epoch = EpochInfo(number=2, loss=0.5, value=0.6, rate=100.0, refused=refused)
    assert EpochInfo.from_json(epoch.to_json()) == epoch
    assert "refused" not in record["history"][0]
    assert MemberInfo.from_json(record).slowed == ()
    record["history"].append(epoch.to_json())
    assert MemberInfo.from_json(record).slowed == (
        f"CUDA refused a graph of the step, which is slower without: {refused}",
    )
