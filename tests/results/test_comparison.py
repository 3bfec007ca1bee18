"""The comparison table: estimates without labels, flags, what the blend says of its members, width and speed."""

import math
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ensemble_ad as ea
from ensemble_ad.blend.of_members import blend_members
from ensemble_ad.blend.saved import SavedBlend, list_blends
from ensemble_ad.errors import UsageError
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.members.choose import select
from ensemble_ad.members.data_record import load_data_record, save_data_record
from ensemble_ad.members.measured import Measured
from ensemble_ad.members.save import save_member
from ensemble_ad.members.store import Member, list_members
from ensemble_ad.results.comparison import COLUMNS, tabulate
from ensemble_ad.results.comparison_text import render_text
from ensemble_ad.statistics import separation


def _changed(studies: Path, folder: str, name: str, **values: object) -> None:
    path = studies / folder / ("blend.json" if "blends" in folder else "member.json")
    write_json(path, {**read_json(path), **values})


@pytest.fixture
def some(studies) -> tuple[list[Member], list[SavedBlend]]:
    return list_members(studies)[0], list_blends(studies)[0]


def _as_another(studies: Path, member: Member, number: int, reference: np.ndarray, test: np.ndarray) -> Member:
    """A member like `member` whose main column is another, with the separation that `fit` would store."""
    found = separation(reference, test)
    estimate = Measured(value=found.value, standard_error=found.standard_error)
    column, judged = member.main_column, replace(member.info.objective, value=found.value)
    return save_member(
        studies,
        replace(member.info, key=f"fcn-{number:012x}", separation=estimate, objective=judged),
        reference={column: reference.astype(np.float32)},
        test={column: test.astype(np.float32)},
        weights={"nothing": np.zeros(1, dtype=np.float32)},
    )


# Estimates without labels


def test_with_a_given_share_the_estimate_is_the_implied_auc(studies, some):
    table = ea.comparison(studies, anomaly_share=0.8)
    assert set(table["estimated_share"]) == {0.8}
    assert set(table["share_source"]) == {"given"}
    share = some[1][-1].info.given_share(0.8)
    assert table["estimated_auc"].notna().any()
    for name, row in table.iterrows():
        found = share.implied_auc(row["separation"], row["separation_standard_error"], own_shift=name == "both")
        known = [row[f"estimated_auc{end}"] for end in ("", "_low", "_high")]
        assert (known == [found.value, found.low, found.high]) if found else all(map(pd.isna, known))


def test_labels_and_their_evaluation_do_not_change_an_estimate(run_ensad, data, studies):
    estimates = [name for name in COLUMNS if name.startswith("estimated_")]
    before = ea.comparison(studies, anomaly_share=0.6)[estimates].sort_index()
    run_ensad("evaluate")
    pd.testing.assert_frame_equal(ea.comparison(studies, anomaly_share=0.6)[estimates].sort_index(), before)


def test_the_share_given_to_the_blend_is_used_until_another_is_given(run_ensad, studies):
    run_ensad("blend", "--members", "fcn,resnet", "--name", "told", "--method", "mean", "--anomaly-share", 0.7)
    table = ea.comparison(studies)
    assert (set(table["estimated_share"]), set(table["share_source"])) == ({0.7}, {"given"})
    assert set(ea.comparison(studies, anomaly_share=0.9)["estimated_share"]) == {0.9}
    # The same blend again, with what is known by now.
    run_ensad("blend", "--members", "fcn,resnet", "--name", "told", "--method", "mean", "--anomaly-share", 0.6)
    assert set(ea.comparison(studies)["estimated_share"]) == {0.6}


def test_an_estimated_share_is_one_for_all_rows_and_widens_intervals(studies):
    sure, unsure = ({"value": 0.6, "standard_error": error} for error in (1e-9, 0.05))
    shift = {"value": 0.0, "standard_error": 0.0}
    _changed(studies, "blends/both", "both", anomaly_share=None, share=sure, shift=shift)
    narrow = ea.comparison(studies)
    _changed(studies, "blends/both", "both", anomaly_share=None, share=unsure, shift=shift)
    wide = ea.comparison(studies)
    assert (set(wide["estimated_share"]), set(wide["share_source"])) == ({0.6}, {"estimated"})
    known = wide["estimated_auc"].notna()
    assert known.any()
    assert (wide["estimated_auc_low"] <= narrow["estimated_auc_low"])[known].all()
    assert (wide["estimated_auc_high"] >= narrow["estimated_auc_high"])[known].all()
    assert (wide["estimated_auc_low"] < narrow["estimated_auc_low"])[known].any()


@pytest.mark.parametrize(
    "share", [None, {"value": 0.0, "standard_error": 0.01}, {"value": 0.05, "standard_error": 0.05}], ids=str
)
def test_a_share_that_cannot_be_told_from_none_gives_no_estimate(studies, share):
    _changed(studies, "blends/both", "both", anomaly_share=None, share=share)
    table = ea.comparison(studies)
    for name in ("estimated_auc", "estimated_auc_low", "estimated_auc_high", "estimated_share", "share_source"):
        assert table[name].isna().all()


def test_without_a_blend_that_knows_the_share_the_columns_are_empty(studies, some):
    path = studies / "blends" / "both" / "blend.json"
    later = ("anomaly_share", "share", "correlation", "transductive")
    write_json(path, {k: v for k, v in read_json(path).items() if k not in later})
    for blends in ([], list_blends(studies)[0]):
        table = tabulate(studies, some[0], blends)
        assert table["estimated_share"].isna().all()
        assert table["correlation"].isna().all()
        assert table["transductive"].eq(False).all()


def test_the_users_share_needs_no_blend(studies, some):
    assert set(tabulate(studies, some[0], [], None, 0.9)["estimated_share"]) == {0.9}
    assert tabulate(studies, [], [], None, 0.9).empty


def test_another_data_set_has_its_own_share_or_none(studies, some):
    members, blends = some
    recipe = replace(members[0].info.recipe, data="ab" * 16)
    other = replace(members[0], key="fcn-0123456789ab", info=replace(members[0].info, recipe=recipe))
    table = tabulate(studies, [other, *members], blends, None, 0.9)
    assert pd.isna(table.loc[other.key, "estimated_share"])
    assert table.drop(other.key)["estimated_share"].eq(0.9).all()
    theirs = replace(blends[0], name="theirs", info=replace(blends[0].info, data="ab" * 16, anomaly_share=0.4))
    table = tabulate(studies, [other, *members], [theirs, *blends], None, 0.9)
    assert table.loc[[other.key, "theirs"], "estimated_share"].eq(0.4).all()


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, math.nan])
def test_a_share_outside_its_range_is_refused(studies, share):
    with pytest.raises(UsageError, match=r"the anomaly share lies in \(0, 1\], got"):
        ea.comparison(studies, anomaly_share=share)


@pytest.mark.parametrize("share", [0, 1.5, "half"])
def test_the_command_refuses_a_share_outside_its_range(run_ensad, studies, share):
    result = run_ensad("compare", "--anomaly-share", share)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--anomaly-share" in result.stderr


def test_no_auc_is_shown_where_none_explains_the_separation(run_ensad, studies):
    result = run_ensad("compare", "--anomaly-share", 0.001)
    table = ea.comparison(studies, anomaly_share=0.001)
    unexplained = table["estimated_auc_low"].isna()
    assert unexplained.any()
    assert table.loc[unexplained, "estimated_auc"].isna().all()
    assert f"{unexplained.sum()} of {len(table)} rows have no estimated AUC" in result.stderr
    assert "have no estimated AUC" not in run_ensad("compare", "--anomaly-share", 1).stderr


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "no AUC can be estimated without labels: too few images to estimate the share of anomalies"),
        ({"value": 0.0, "standard_error": 0.05}, "0.0% anomalies (estimated, standard error 5.0%) cannot be told from"),
        ({"value": 0.6, "standard_error": 0.05}, "with 60.0% anomalies (estimated, standard error 5.0%)"),
        ({"value": 0.7, "standard_error": 0.05}, "70.0% anomalies (estimated, standard error 5.0%), and more than 60%"),
    ],
    ids=["too few images", "none", "usable", "too many"],
)
def test_the_words_say_which_share_or_why_none(studies, share, said):
    blend = list_blends(studies)[0][0]
    blend = replace(blend, info=replace(blend.info, anomaly_share=None, share=share and Measured(**share)))
    assert said in blend.estimate_in_words()


# Speed


@pytest.mark.slow
def test_what_made_a_training_slow_is_a_column_and_a_line(studies, some):
    assert ea.comparison(studies)["slowed"].isna().all()
    assert "slower" not in render_text(ea.comparison(studies))
    member = some[0][0]
    epochs = [{**epoch.to_json(), "parts": 4, "refused": "CUDA error: capturing"} for epoch in member.info.history]
    _changed(studies, "members/" + member.key, "", history=epochs)
    table = ea.comparison(studies)
    slowed = table.loc[member.key, "slowed"]
    assert slowed.startswith("out of memory: every batch is computed in 4 parts")
    assert slowed.endswith("CUDA refused a graph of the step, which is slower without: CUDA error: capturing")
    assert table["slowed"].notna().sum() == 1
    assert f"slower than it should be: {member.key}: {slowed}" in render_text(table)


def test_a_thousand_members_are_compared_in_a_moment(tmp_path, studies, some):
    members, _ = some
    record = load_data_record(studies, members[0].data)
    save_data_record(tmp_path / "many", record)
    rng = np.random.default_rng(0)
    reference, test = rng.normal(size=(1000, record.n_reference)), rng.normal(size=(1000, len(record.ids)))
    for i in range(1000):
        _as_another(tmp_path / "many", members[0], i, reference[i], test[i])
    many = tmp_path / "many"
    blend_members(many, select(list_members(many)[0], "fcn:20"), method="mean").save(many)
    command = [sys.executable, "-c", "from ensemble_ad.cli import main; main()", "compare", "--studies", "many"]
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert len(result.stdout.splitlines()) >= 1002
    # Of the processor, so that other work on the machine counts little; a third of it is reading 1,000 files.
    assert min(seconds) < 1
