"""JSON files: what is written comes back, and what is no JSON is refused by its path."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import is_number, parse_json, read_json, write_json

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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("place", ["{}", " {}", "[{}]", "[0,{}]", '{{"a":{}}}', '{{"a": {}}}', "[\n{}]", "[\t{}]"])
@pytest.mark.parametrize(
    "number", ["1e400", "-1E400", "1.5e+999", "0.1e400", "9" * 20, "-" + "9" * 30, "1" * 400 + ".5", "NaN", "-Infinity"]
)
def test_a_number_that_is_too_large_is_refused_wherever_it_stands(number, place, encoding):
    with pytest.raises(ValueError):  # noqa: PT011, whichever of the rules says so
        parse_json(place.format(number).encode(encoding))


@pytest.mark.parametrize("number", ["1e308", "-0.0034999034568847503", "1e-400", "123456789012345678", str(2**63)])
def test_a_number_that_is_not_too_large_is_taken(number):
    wanted = float(number) if "e" in number or "." in number else int(number)
    assert parse_json(f'{{"a": {number}}}'.encode()) == {"a": wanted}


def test_what_looks_like_a_large_number_in_a_text_is_a_text():
    text = '{"hash": "e761 3e761 12345678901234567890, 1e999"}'
    assert parse_json(text.encode()) == {"hash": "e761 3e761 12345678901234567890, 1e999"}
