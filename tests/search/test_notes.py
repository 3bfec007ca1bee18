"""Notes of trials and studies: what is written is read back, and what others wrote is refused by name."""

import json

import optuna
import pytest

from ensemble_ad.errors import StorageError
from ensemble_ad.members.measured import Measured, Objectives
from ensemble_ad.search.notes import FORMAT, StudyNotes, TrialNotes

NOTES = TrialNotes(
    place=3, worker="host.0123456789ab", key="fcn-0123456789ab", member="fcn-0123456789ab", value=0.75,
    objectives=Objectives(separation=Measured(value=0.75, standard_error=0.01)), reason="a", stopped="b",
)  # fmt: skip


@pytest.fixture
def study():
    return optuna.create_study()


def test_notes_are_read_back_and_have_the_names_that_older_versions_read(study):
    trial = study.ask()
    NOTES.write(trial)
    attrs = study.trials[0].user_attrs
    assert set(attrs) == {
        "place", "worker", "key", "member", "value", "objectives", "reason", "stopped",
    }  # fmt: skip
    assert attrs["objectives"] == {"separation": {"value": 0.75, "standard_error": 0.01}}
    assert TrialNotes.of(study.trials[0]) == TrialNotes.from_attrs(json.loads(json.dumps(attrs))) == NOTES
    assert TrialNotes().to_attrs() == {}
    assert TrialNotes.from_attrs({"objectives": {}, "of somebody else": 5}) == TrialNotes()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("place", -1), ("place", 1.5), ("place", 1 << 60), ("reason", ["x"]), ("stopped", {}),
        ("worker", "../../victim"), ("worker", "a" * 300 + ".0123456789ab"), ("worker", 5),
        ("key", "../../victim"), ("member", "/etc/passwd"), ("member", "fcn-0123456789ab\n"),
        ("value", float("nan")), ("value", "1"),
        ("objectives", []), ("objectives", {"separation": {"value": float("inf"), "standard_error": 0.0}}),
        ("objectives", {"separation": 1}),
    ],
)  # fmt: skip
def test_a_note_that_no_ensad_has_written_is_refused_by_name(study, name, value):
    study.ask().set_user_attr(name, value)
    with pytest.raises(StorageError, match=rf"trial 0 has a note `{name}` that no ensad has written") as caught:
        TrialNotes.of(study.trials[0])
    assert len(str(caught.value)) < 300


def test_a_study_says_its_format_and_another_one_is_refused(study):
    assert StudyNotes.of(study) == StudyNotes()
    StudyNotes(format=FORMAT, version="1.0").write(study)
    StudyNotes(stop="a crew").write(study)
    assert StudyNotes.of(study) == StudyNotes(format=FORMAT, version="1.0", stop="a crew")
    assert set(study.user_attrs) == {"format", "version", "stop"}
    study.set_user_attr("format", "9\x1b[2J" * 99)
    with pytest.raises(StorageError, match="use the ensad that wrote it") as caught:
        StudyNotes.of(study)
    assert len(str(caught.value)) < 300
    assert "\x1b" not in str(caught.value)
