"""JSON files: what is written comes back, and what is no JSON is refused by its path."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import is_number, read_json, write_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**64, 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=25)  # each example syncs a file
@given(value=JSON)
def test_json_comes_back_as_it_was_written(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "round.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_word_for_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": 1}{'])
def test_what_is_not_json_is_refused_with_its_path(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"a.json must be JSON: .*; it is damaged, remove it or copy it again"):
        read_json(tmp_path / "a.json")


def test_a_missing_file_is_refused_with_its_path(tmp_path):
    with pytest.raises(StorageError, match=r"cannot read .*a.json: No such file or directory"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("value", [0, -5, 0.5, 1e100, 1 << 60])
def test_what_arithmetic_takes_is_a_number(value):
    assert is_number(value)


@pytest.mark.parametrize("value", [True, None, "1", 1.1e100, -1e308, float("nan"), float("inf"), [1]])
def test_what_arithmetic_does_not_take_is_none(value):
    assert not is_number(value)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(StorageError, match=r"cannot read .*a.json: Not a regular file"):
        read_json(tmp_path / "a.json")
