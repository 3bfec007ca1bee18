"""`ensad compare`: one table in Python, in the terminal and in files."""

import io
import json

import numpy as np
import pandas as pd
import pytest

import ensemble_ad as ea
from ensemble_ad.results.comparison import COLUMNS


@pytest.fixture
def compared(run_ensad, data, studies) -> pd.DataFrame:
    """The table in Python, after an evaluation."""
    run_ensad("evaluate")
    return ea.comparison("studies")


def test_the_table_has_a_row_for_everything_best_first_in_its_dtypes(compared, studies):
    assert compared.dtypes.astype(str).to_dict() == {
        name: str(pd.Series(dtype=kind).dtype) for name, kind in COLUMNS.items()
    }
    assert compared.index.name == "name"
    assert set(compared.index) == {"both", *(folder.name for folder in (studies / "members").iterdir())}
    assert compared["auc"].is_monotonic_decreasing
    assert compared["auc"].notna().all()
    assert compared["labels_used"].eq("none").all()
    members = compared[compared["kind"] == "member"]
    assert members["weight"].sum() == pytest.approx(1)
    assert members["seconds"].gt(0).all()
    assert compared.loc["both", "kind"] == "blend"


def test_the_table_of_nothing_has_the_same_columns_and_dtypes(run_ensad, compared):
    empty = ea.comparison("nothing")
    assert empty.empty
    pd.testing.assert_series_equal(empty.dtypes, compared.dtypes)
    result = run_ensad("compare", "--studies", "nothing")
    assert result.exit_code == 0
    assert "run `ensad tune --family fcn --trials 50 --studies nothing`\n" in result.stderr
    assert result.stdout.count("\n") == 1, "there is a header, and nothing to explain below it"


def test_before_an_evaluation_the_table_is_ordered_by_separation(run_ensad, studies):
    table = ea.comparison("studies")
    assert table["auc"].isna().all()
    assert table["separation"].is_monotonic_decreasing


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    table = table.set_index("name").astype({name: "Float64" for name, kind in COLUMNS.items() if kind == "Int64"})
    table = table.astype(COLUMNS)
    table.index = table.index.astype("string")
    return table


def test_csv_is_the_same_table(run_ensad, compared):
    text = run_ensad("compare", "--format", "csv").stdout
    read = _typed(pd.read_csv(io.StringIO(text), dtype={"data": "string"}, parse_dates=["created"]))
    pd.testing.assert_frame_equal(read, compared.astype({"source": "string"}), rtol=1e-12)


def test_json_is_the_same_table(run_ensad, compared):
    text = run_ensad("compare", "--format", "json").stdout
    read = _typed(pd.DataFrame(json.loads(text)))
    pd.testing.assert_frame_equal(read, compared, rtol=1e-12)


def test_parquet_is_the_same_table(run_ensad, compared, tmp_path):
    result = run_ensad("compare", "--format", "parquet", "-o", "out/table.parquet")
    assert result.stdout == ""
    read = pd.read_parquet(tmp_path / "out" / "table.parquet")
    read.index = read.index.astype("string")  # the one dtype that pandas does not bring back
    pd.testing.assert_frame_equal(read, compared)


@pytest.mark.parametrize("kind", ["text", "markdown"])
def test_text_and_markdown_show_every_row_in_order(run_ensad, compared, kind):
    text = run_ensad("compare", "--format", kind).stdout
    lines = text.splitlines()
    if kind == "markdown":
        assert len({line.count("|") for line in lines}) == 1
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    else:
        assert max(map(len, lines[: 1 + len(compared)])) <= 100
        rows = [line.split("  ") for line in lines[1 : 1 + len(compared)]]
        rows = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[0] for row in rows] == compared.index.tolist()
    for row, (name, expected) in zip(rows, compared.iterrows(), strict=True):
        tied = expected["ties_best"] and name != compared.index[0]  # the best itself has no star
        assert row[2] == f"{expected['auc']:.3f}" + "*" * bool(tied)
        assert row[3] == f"{expected['auc_low']:.3f}-{expected['auc_high']:.3f}"


def test_a_star_marks_what_cannot_be_told_from_the_best(run_ensad, compared):
    others = compared["ties_best"].sum() - 1
    assert others > 0
    text = run_ensad("compare").stdout
    assert text.count("*") == others + 1  # and the note below
    assert text.endswith("* cannot be told from the best (DeLong's paired test, Holm-corrected, 5%)\n")


@pytest.mark.parametrize("kind", ["text", "csv", "json", "markdown"])
def test_a_table_in_a_file_is_the_one_on_stdout(run_ensad, compared, tmp_path, kind):
    shown = run_ensad("compare", "--format", kind)
    written = run_ensad("compare", "--format", kind, "-o", "table")
    assert written.stdout == ""
    assert (tmp_path / "table").read_text() == shown.stdout


def test_weights_are_those_of_the_blend_that_is_asked_for(run_ensad, studies):
    run_ensad("blend", "--members", "fcn", "--name", "only")
    for blend, families in (("only", {"fcn"}), ("both", {"fcn", "resnet"})):
        text = run_ensad("compare", "--format", "csv", "--blend", blend).stdout
        table = pd.read_csv(io.StringIO(text))
        assert set(table.loc[table["weight"].gt(0), "family"]) == families
    weights = ea.comparison("studies")["weight"]
    assert np.isfinite(weights.astype(float)).sum() == 2, "the latest blend is the default"
