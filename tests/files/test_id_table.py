"""CSV files with an id column: what is read, and that anything else is one clear error."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_ad.errors import DataError
from ensemble_ad.files.id_table import IdTable, check_cells, check_same_ids, read_id_table, read_labels


@pytest.mark.parametrize(
    "text",
    [
        "ID,score\n1,0.5\n0,0.25\n",
        "id,Score\r\n1,0.5\r\n0,0.25\r\n",
        "\ufeffID,score\n1,0.5\n0,0.25",
        "ID , score\n 1 , 0.5\n\n0,0.25\n\n",
        "note,score,ID\nx,0.5,1\n,0.25,0\n",
        '"ID","score"\n"1","0.5"\n"0","0.25"\n',
    ],
    ids=["plain", "windows, other case", "byte order mark", "spaces and blank lines", "other columns", "quoted"],
)
def test_two_columns_are_read_in_the_order_of_the_file(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read_id_table(tmp_path / "a.csv", "score") == IdTable(["1", "0"], ["0.5", "0.25"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must have the columns ID,score, but is empty"),
        (b"\n", "must have the columns ID,score, but starts with ''"),
        (b"ID,label\n0,1\n", "must have the columns ID,score, but starts with 'ID,label'"),
        (b"0,1\n1,0\n", "must have the columns ID,score, but starts with '0,1'"),
        (b"ID,score\n", "must have a row an image, but has none"),
        (b"ID,score\n0,1\n1\n", "line 3 must have 2 cells, but has 1"),
        (b"ID,score\n0,1,2\n", "line 2 must have 2 cells, but has 3"),
        (b"ID,score\n0,1\n1,1\n0,2\n", "must name each id once, but '0' comes again on line 4"),
        (b"ID,score\n0,1\n 0 ,2\n", "'0' comes again on line 3"),
        (b'ID,score\n"0,1\n', "must be a CSV file"),
        (b"ID,score\n\xff,1\n", "must be a CSV file"),
        (b"ID,score\n0," + b"1" * 200_000 + b"\n", "must be a CSV file"),
    ],
    ids=[
        "empty", "blank", "no score", "no header", "no rows", "short row", "long row", "repeated id",
        "repeated but for spaces", "open quote", "not UTF-8", "a huge cell",
    ],
)  # fmt: skip
def test_what_is_not_such_a_table_is_refused_with_its_path(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"a.csv.* {message}"):
        read_id_table(tmp_path / "a.csv", "score")


def test_a_missing_file_and_a_folder_are_refused_with_their_paths(tmp_path):
    with pytest.raises(DataError, match=r"the file .*none.csv does not exist; name another"):
        read_id_table(tmp_path / "none.csv", "score")
    with pytest.raises(DataError, match=r"must be a CSV file .*Is a directory"):
        read_id_table(tmp_path, "score")


@given(
    content=st.binary(max_size=60) | st.text(st.sampled_from('ID,score\n\r" 01\x00\t;é'), max_size=60).map(str.encode)
)
@pytest.mark.parametrize("start", [b"", b"ID,score\n"])
def test_random_bytes_are_a_table_of_distinct_ids_or_a_data_error(tmp_path_factory, start, content):
    path = tmp_path_factory.getbasetemp() / "random.csv"
    path.write_bytes(start + content)
    try:
        table = read_id_table(path, "score")
    except DataError:
        return
    assert len(table.ids) == len(table.values) == len(set(table.ids)) > 0


IDS = [str(i) for i in range(6)]


@pytest.mark.parametrize("ids", [IDS, IDS[::-1]])
def test_the_same_ids_in_any_order_pass(tmp_path, ids):
    check_same_ids(tmp_path, ids, IDS)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[1:], r"ids of the 6 test images: 1 missing \('0'\)$"),
        ([], r"6 missing \('0', '1', '2', ...\)$"),
        ([*IDS, "6"], r"1 unknown \('6'\)$"),
        (["00", *IDS[1:]], r"1 missing \('0'\) and 1 unknown \('00'\)$"),
    ],
)
def test_missing_and_unknown_ids_are_counted_and_the_first_are_named(tmp_path, ids, message):
    with pytest.raises(DataError, match=message):
        check_same_ids(tmp_path / "a.csv", ids, IDS)


def test_labels_come_in_the_order_of_the_images(digits_folder, tmp_path):
    header, *rows = (digits_folder / "labels.csv").read_text().splitlines()
    ids = [row.split(",")[0] for row in rows]
    expected = [int(row.split(",")[1]) for row in rows]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    (tmp_path / "labels.csv").write_text("\n".join([header, *shuffled]))
    label = read_labels(tmp_path / "labels.csv", ids)
    assert label.dtype == np.int8
    assert label.tolist() == expected


def test_labels_may_be_written_as_floats(tmp_path):
    (tmp_path / "labels.csv").write_text("ID,label\n0,0.0\n1,1.0\n")
    assert read_labels(tmp_path / "labels.csv", ["0", "1"]).tolist() == [0, 1]


@pytest.mark.parametrize("value", ["2", "-1", "0.5", "", "nan", "yes", "1e0", "True"])
def test_a_label_is_0_or_1(tmp_path, value):
    (tmp_path / "labels.csv").write_text(f"ID,label\n0,0\n1,1\n2,{value}\n")
    with pytest.raises(DataError, match=rf"must be 0 \(normal\) or 1 \(anomaly\), but the one of '2' is '{value}'"):
        read_labels(tmp_path / "labels.csv", ["0", "1", "2"])


@pytest.mark.parametrize("only", ["0", "1"])
def test_labels_of_one_class_are_refused(tmp_path, only):
    (tmp_path / "labels.csv").write_text(f"ID,label\n0,{only}\n1,{only}\n")
    with pytest.raises(DataError, match=f"must hold both classes, but every label is {only}"):
        read_labels(tmp_path / "labels.csv", ["0", "1"])


@pytest.mark.parametrize("header", ["ID,label,label", "ID,label,Label", "ID,id,label"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, header):
    (tmp_path / "a.csv").write_text(f"{header}\n0,1,0\n1,0,1\n")
    with pytest.raises(DataError, match=r"must have the columns ID,label once each, but has \w+ 2 times"):
        read_id_table(tmp_path / "a.csv", "label")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
def test_a_pipe_that_cannot_be_read_again_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="Not a regular file"):
        read_labels(tmp_path / "pipe", ["0"])


@pytest.mark.parametrize("encoding", ["utf-16", "cp950"])
def test_another_encoding_is_named_as_the_reason(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("ID,label,\u7f3a\n0,1,x\n".encode(encoding))
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_labels(tmp_path / "a.csv", ["0"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b\x07"], r"text without control characters, but here has 'b\\x07'; rename it$"),
        (["=a", "b", "c\n", "@d"], r"spreadsheet's formula, .* has '=a'; rename it, and 2 more that cannot be ids$"),
    ],
)
def test_an_id_that_cannot_be_one_is_named_and_the_others_are_counted(ids, message):
    check_cells(["a", "b.png"], "here")
    with pytest.raises(DataError, match=message):
        check_cells(ids, "here")
