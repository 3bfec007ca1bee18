"""A blend's record: what an older version wrote is read, what is read is written again, and the rest is refused."""

import json

import pytest

from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.files.json_file import read_json
from ensemble_ad.members.measured import UnfitError

OPTIONAL = ("separation", "terms", "asked_method", "normaliser", "explanation", "anomaly_share", "share", "correlation",
            "transductive")  # fmt: skip


@pytest.fixture
def record(studies_folder):
    """The contents of a real blend's file, to be changed."""
    return json.loads(json.dumps(read_json(studies_folder / "blends" / "both" / "blend.json")))


def test_what_is_read_is_written_again(record):
    info = BlendInfo.from_json(record)
    assert json.loads(json.dumps(info.to_json())) == record
    assert BlendInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("null", [False, True], ids=["absent", "null"])
def test_what_an_older_version_did_not_note_may_be_absent_or_null(record, name, null):
    record.pop(name)
    if null:
        record[name] = None
    info = BlendInfo.from_json(record)
    assert getattr(info, name) in (None, "auto", "", {}, False)
    assert BlendInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


def _without(name):
    return lambda record: record.pop(name)


def _with(**values):
    return lambda record: record.update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_with(format=2), "format"),
        *((_without(name), "format") for name in ("name", "data", "members", "weights", "checksum")),
        (_with(weights=[]), "format"),
        (_with(separation={"value": 1e308, "standard_error": 0.1}), "optional parts"),
        (_with(seconds="1"), "format"),
        (_with(seconds=True), "format"),
        (_with(anomaly_share=1e308), "optional parts"),
        (_with(terms="fcn"), "optional parts"),
        (_with(data="../../victim/settings"), "texts and numbers to show"),
        (_with(members=["../../victim"]), "texts and numbers to show"),
        (_with(members=[]), "texts and numbers to show"),
        (_with(weights={"a/rss": 1e308}), "texts and numbers to show"),
        (_with(weights={"fcn-0123456789ab/rss": 1.0}), "weights of its members"),
        (_with(weights={"a/rss\x1b": 0.5}), "texts and numbers to show"),
        (_with(correlation={"a": "high"}), "texts and numbers to show"),
        (_with(method="mean\n"), "texts and numbers to show"),
        (_with(explanation="x" * 10_000), "texts and numbers to show"),
        (_with(anomaly_share=1.5), "--anomaly-share|share"),
    ],
)
def test_a_part_that_cannot_be_is_refused_by_name(record, change, said):
    change(record)
    with pytest.raises(UnfitError, match=said):
        BlendInfo.from_json(record)


@pytest.mark.parametrize("value", [[], "text", None, 5])
def test_what_is_no_record_at_all_is_refused(value):
    with pytest.raises(UnfitError, match="format"):
        BlendInfo.from_json(value)
