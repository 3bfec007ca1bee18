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
from scipy.stats import spearmanr

import ensemble_ad as ea
from ensemble_ad.blend.of_members import blend_members
from ensemble_ad.blend.saved import SavedBlend, list_blends
from ensemble_ad.errors import UsageError
from ensemble_ad.files.json_file import read_json, write_json
from ensemble_ad.members.choose import select
from ensemble_ad.members.data_record import load_data_record, save_data_record
from ensemble_ad.members.measured import Measured
from ensemble_ad.members.store import Member, list_members, save_member
from ensemble_ad.results.comparison import COLUMNS, CONSTANT, INVERTED, tabulate
from ensemble_ad.results.comparison_text import render_text
from ensemble_ad.statistics import separation
from ensemble_ad.statistics.implied import Share


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
    for member in some[0]:
        reference, test = (side[:, member.columns.index(member.main_column)] for side in member.vectors())
        found = separation(reference, test)
        value, low, high = (min(1.0, 0.5 + (end - 0.5) / 0.8) for end in (found.value, found.low, found.high))
        row = table.loc[member.key]
        assert row["estimated_auc"] == pytest.approx(value, abs=1e-9)
        assert row["estimated_auc_low"] == pytest.approx(low, abs=1e-6)
        assert row["estimated_auc_high"] == pytest.approx(high, abs=1e-6)


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
    _changed(studies, "blends/both", "both", anomaly_share=None, share=sure)
    narrow = ea.comparison(studies)
    _changed(studies, "blends/both", "both", anomaly_share=None, share=unsure)
    wide = ea.comparison(studies)
    assert (set(wide["estimated_share"]), set(wide["share_source"])) == ({0.6}, {"estimated"})
    known = narrow["estimated_auc"].notna()
    assert known.any()
    pd.testing.assert_series_equal(wide["estimated_auc"], narrow["estimated_auc"])
    assert (wide["estimated_auc_low"] <= narrow["estimated_auc_low"])[known].all()
    assert (wide["estimated_auc_high"] >= narrow["estimated_auc_high"])[known].all()
    assert (wide["estimated_auc_low"] < narrow["estimated_auc_low"])[known].any()


@pytest.mark.parametrize(
    "share", [None, {"value": 0.0, "standard_error": 0.01}, {"value": 0.05, "standard_error": 0.04}], ids=str
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


def test_a_value_just_beyond_1_is_missing_and_its_interval_is_kept():
    beyond = Share(value=0.5).implied_auc(0.755, 0.01)
    assert beyond is not None
    assert beyond.value is None
    assert 0.9 < beyond.low < beyond.high == 1
    assert Share(value=0.5).implied_auc(0.9, 0.01) is None
    assert Share(value=0.5).implied_auc(0.1, 0.01) is None
    assert Share(value=0.5).implied_auc(0.75, 0.01).value == 1


def test_the_interval_covers_both_errors_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for true_share, true_auc, share_error, error in (
        (0.5, 0.9, 0.06, 0.01),
        (0.3, 0.7, 0.07, 0.015),
        (0.4, 0.5, 0.09, 0.01),
    ):
        mean = 0.5 + true_share * (true_auc - 0.5)
        hits = []
        for share, value in zip(rng.normal(true_share, share_error, 4000), rng.normal(mean, error, 4000), strict=True):
            one = Share(value=float(np.clip(share, 0, 1)), standard_error=share_error, given=False)
            found = one.implied_auc(float(value), error)
            if one.usable:
                hits.append(found is not None and found.low <= true_auc <= found.high)
        assert 0.935 < np.mean(hits) < 0.97


# Flags


def test_a_constant_member_and_an_inverted_one_are_flagged_and_no_other(studies, some):
    members, blends = some
    record = load_data_record(studies, members[0].data)
    n, k = record.n_reference, len(record.ids)
    level = np.linspace(0, 1, n)
    test = np.linspace(0, 1, k)
    constant = _as_another(studies, members[0], 1, np.ones(n), np.ones(k))
    inverted = _as_another(studies, members[0], 2, level, test - 0.9)
    balanced = _as_another(studies, members[0], 3, np.tile([0.0, 2.0], n // 2), np.ones(k))
    chance = _as_another(studies, members[0], 4, level, test - 0.05)
    assert balanced.info.separation.value == constant.info.separation.value == 0.5
    flags = tabulate(studies, [*members, constant, inverted, balanced, chance], blends)["flag"]
    assert flags[constant.key] == CONSTANT
    assert flags[inverted.key] == INVERTED
    assert flags.drop([constant.key, inverted.key]).isna().all()
    text = render_text(tabulate(studies, [constant, inverted], []))
    assert text.count("!") == 3
    assert "! constant: one score for all images; inverted: test images score below normal ones\n" in text


def test_without_the_record_of_the_data_nothing_is_called_constant(tmp_path, studies, some):
    record = load_data_record(studies, some[0][0].data)
    constant = _as_another(tmp_path, some[0][0], 1, np.ones(record.n_reference), np.ones(len(record.ids)))
    assert pd.isna(tabulate(tmp_path, [constant], [])["flag"].iloc[0])
    save_data_record(tmp_path, record)
    assert tabulate(tmp_path, [constant], [])["flag"].iloc[0] == CONSTANT


# What a row is, and what the blend says of it


def test_the_correlation_is_spearmans_with_the_shown_blend(run_ensad, studies, some):
    run_ensad("blend", "--members", "fcn:1,resnet", "--name", "three", "--columns", "all")
    shown = next(blend for blend in list_blends(studies)[0] if blend.name == "three")
    table = ea.comparison(studies)
    for member in some[0]:
        found = table.loc[member.key, "correlation"]
        if member.key in shown.info.members:
            column = member.vectors()[1][:, member.columns.index(member.main_column)]
            assert found == pytest.approx(spearmanr(column, shown.scores()).statistic)
        else:
            assert pd.isna(found)
    assert table["correlation"].notna().sum() == 3
    assert ea.comparison(studies, "both")["correlation"].notna().sum() == 4


def test_trials_and_presets_have_columns_of_their_own(studies, some):
    members, _ = some
    published = replace(members[0], info=replace(members[0].info, trial=None, preset="fcn-boss"))
    table = tabulate(studies, [published, *members[1:]], [])
    assert table.loc[published.key, ["source", "preset"]].tolist() == ["fcn-boss", "fcn-boss"]
    assert pd.isna(table.loc[published.key, "trial"])
    others = table.drop(published.key)
    assert others["preset"].isna().all()
    assert ("trial " + others["trial"].astype(str) == others["source"]).all()


def test_a_blend_is_transductive_if_a_member_is_and_every_table_says_so(run_ensad, data, studies, some):
    learnt_on_test = some[0][0]
    _changed(studies, f"members/{learnt_on_test.key}", learnt_on_test.key, transductive=True)
    terms = select(list_members(studies)[0], "fcn:all,resnet:all")
    blend_members(studies, terms, method="mean", name="with")
    without = select(list_members(studies)[0], ",".join(m.key for m in some[0][1:]))
    blend_members(studies, without, method="mean", name="without")
    marked = {learnt_on_test.key, "with"}
    table = ea.comparison(studies)
    assert set(table.index[table["transductive"]]) == marked
    lines = run_ensad("compare").stdout.splitlines()
    assert {line.split()[0] for line in lines if "^" in line.split()[0]} == {f"{name}^" for name in marked} | {"^"}
    assert "^ transductive: trained on the unlabelled test images too" in lines
    markdown = run_ensad("compare", "--format", "markdown").stdout.splitlines()
    assert {row.split(" | ")[0].removeprefix("| ") for row in markdown if row.endswith(" yes |")} == marked
    assert "transductive" in markdown[0]
    csv = run_ensad("compare", "--format", "csv").stdout.splitlines()
    assert "transductive" in csv[0]
    for command in (("evaluate",), ("audit",)):
        rows = [line.split("\t") for line in run_ensad(*command).stdout.splitlines()]
        header: list[str] = []
        found = set()
        for row in rows:
            if row[0] in ("name", "study", "blend"):
                header = row
            elif row[header.index("transductive")] == "yes":
                found.add(row[0])
        assert "with" in found
        assert found <= marked
    said = run_ensad("blend", "--members", learnt_on_test.key, "--name", "alone").stderr
    assert "transductive: a member was trained on the unlabelled test images too" in said


# The text


def test_the_text_fits_80_columns_and_shows_more_where_there_is_room(run_ensad, data, studies):
    run_ensad("blend", "--members", "fcn,resnet", "--name", "a-name-that-is-much-too-long-for-a-terminal-1a2b3c",
              "--anomaly-share", 0.9)  # fmt: skip
    run_ensad("evaluate")
    table = ea.comparison(studies)
    by_width = {width: render_text(table, width=width).splitlines() for width in (80, 140, 200)}
    for width, lines in by_width.items():
        assert max(map(len, lines[: 1 + len(table)])) <= width
    assert len(by_width[80][0].split()) < len(by_width[140][0].split()) < len(by_width[200][0].split())
    assert by_width[200][0].split()[-4:] == ["column", "corr.", "crop", "seconds"]
    assert any(line.startswith("a-name-that-i..-1a2b3c  ") for line in by_width[80])
    assert run_ensad("compare", COLUMNS="200").stdout.splitlines() == by_width[80]


def test_before_an_evaluation_the_estimate_takes_the_place_of_the_auc(run_ensad, data, studies):
    header, *_, note = run_ensad("compare", "--anomaly-share", 0.9).stdout.splitlines()
    assert "est. AUC" in header
    assert "95% interval" not in header
    assert note == "est. AUC: estimated, no labels, from sep. with a given 90.0% anomalies"
    run_ensad("evaluate")
    assert "95% interval" in run_ensad("compare", "--anomaly-share", 0.9).stdout


def test_the_blend_ends_with_what_can_be_said_without_labels(run_ensad, studies):
    said = run_ensad("blend", "--members", "fcn,resnet", "--anomaly-share", 0.9, "--name", "told").stderr.splitlines()
    assert said[-3].startswith("separation 0.")
    assert "(standard error 0." in said[-3]
    assert said[-2].startswith("AUC 0.")
    assert said[-2].endswith("(estimated, no labels), with 90.0% anomalies (given)")
    said = run_ensad("blend", "--members", "fcn,resnet", "--anomaly-share", 0.001, "--name", "few").stderr.splitlines()
    assert said[-2].startswith("no AUC can be estimated without labels: no AUC, or every one, explains this")


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "no AUC can be estimated without labels: too few images to estimate the share of anomalies"),
        ({"value": 0.0, "standard_error": 0.05}, "0.0% anomalies (estimated, standard error 5.0%) cannot be told from"),
        ({"value": 0.6, "standard_error": 0.05}, "with 60.0% anomalies (estimated, standard error 5.0%)"),
    ],
    ids=["too few images", "none", "usable"],
)
def test_the_words_say_which_share_or_why_none(studies, share, said):
    blend = list_blends(studies)[0][0]
    blend = replace(blend, info=replace(blend.info, anomaly_share=None, share=share and Measured(**share)))
    assert said in blend.estimate_in_words()


# Speed


@pytest.mark.slow
def test_a_thousand_members_are_compared_in_a_moment(tmp_path, studies, some):
    members, _ = some
    record = load_data_record(studies, members[0].data)
    save_data_record(tmp_path / "many", record)
    rng = np.random.default_rng(0)
    reference, test = rng.normal(size=(1000, record.n_reference)), rng.normal(size=(1000, len(record.ids)))
    for i in range(1000):
        _as_another(tmp_path / "many", members[0], i, reference[i], test[i])
    blend_members(tmp_path / "many", select(list_members(tmp_path / "many")[0], "fcn:20"), method="mean")
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
