"""`ensad blend`: its help lists what there is, though it imports none of it, and it prints the weights."""

import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ensemble_ad.blend import method_names
from ensemble_ad.cli._table import print_weights


def test_blend_prints_the_weight_of_each_column_that_sums_to_1(run_ensad, studies):
    result = run_ensad("blend", "--members", "fcn:1,resnet:1", "--weights", "3,1", "-q")
    table = pd.read_csv(io.StringIO(result.stdout), sep="\t")
    assert list(table.columns) == ["column", "weight"]
    families = table["column"].str.partition("-")[0]
    assert table["weight"].groupby(families).sum().to_dict() == pytest.approx({"fcn": 0.75, "resnet": 0.25}, abs=2e-4)
    assert "logit" in set(table["column"].str.partition("/")[2])


@pytest.mark.parametrize(("isatty", "whole", "count"), [(True, False, 20), (True, True, 25), (False, False, 25)])
def test_a_terminal_shows_twenty_columns_and_what_the_others_count(monkeypatch, capsys, isatty, whole, count):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: isatty, raising=False)
    print_weights({f"fcn-{i:012x}/mae": i / 300 for i in range(25)}, whole=whole)
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["fcn-000000000018/mae", "0.0800"]
    if count < 25:
        assert lines.pop() == "and 5 more, which count 0.0333 together: -v shows them, and so does a pipe"
    assert [line.split()[0] for line in lines] == [f"fcn-{24 - i:012x}/mae" for i in range(count)]


def test_every_method_that_needs_no_more_than_its_name_is_in_the_help(run_ensad):
    text = run_ensad("blend", "--help").stdout
    for name in set(method_names()) - {"given", "labels"}:
        assert name in text, name


def test_a_family_that_nobody_has_tuned_is_left_out_with_a_word(run_ensad, studies):
    result = run_ensad("blend", "--members", "fcn,vae:2", "--name", "some")
    assert result.exit_code == 0, result.output
    assert "warning: vae has no member yet and is left out; `ensad tune --family vae" in result.stderr
    assert "resnet" not in result.stdout
    for members, missing in (("vae", "vae"), ("fcn,vea", "vea"), ("fcn,vae --weights 2,1", "vae")):
        result = run_ensad("blend", "--members", *members.split())
        assert result.exit_code == 2
        assert f"no member or family '{missing}' is cached" in result.stderr


def test_data_names_the_images_whose_members_are_blended(run_ensad, data, studies, tmp_path):
    data.rename(tmp_path / "mine")
    result = run_ensad("blend", "--data", "mine", "--name", "some")
    assert result.exit_code == 0, result.output
    assert "ensad submit --data mine" in result.stderr
    other = Path(shutil.copytree(tmp_path / "mine", tmp_path / "other"))
    np.save(other / "trainingset.npy", np.load(other / "trainingset.npy")[::-1])
    result = run_ensad("blend", "--data", "other")
    assert result.exit_code == 2
    assert "no member in studies was made of the images in other; run `ensad tune" in result.stderr
    assert run_ensad("blend", "--data", "none").exit_code == 3
