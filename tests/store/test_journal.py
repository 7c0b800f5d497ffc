"""Journals: cut at any byte, the whole lines stay; rows of two kinds are never mixed."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_transfer.core.errors import EvaluationError
from robust_transfer.store.journal import Journal, format_cell, journals, read_journal

HEADER = {"device": "cpu", "key": "0123456789ab", "name": "Gerät \u2028 \n x"}
COLUMNS = ("index", "loss", "robust")
numbers = st.floats(allow_nan=False, allow_infinity=False)
rows_of_any_length = st.lists(st.tuples(st.integers(0, 10**6), numbers, st.booleans()), max_size=12)


def write(path, rows, *, header=HEADER, columns=COLUMNS):
    with Journal(path, header=header, columns=columns) as journal:
        journal.append(rows)


def as_read(rows):
    return [{"index": str(i), "loss": repr(x), "robust": "1" if r else "0"} for i, x, r in rows]


@given(rows=rows_of_any_length, more=rows_of_any_length, data=st.data())
def test_cut_at_any_byte_the_journal_goes_on_from_its_whole_lines(rows, more, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.0.csv"
        write(path, rows)
        content = path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:cut])
        whole = max(0, content[:cut].count(b"\n") - 2)
        header, found = read_journal(path)
        assert found == as_read(rows[:whole])
        assert header == (HEADER if content[:cut].count(b"\n") >= 2 else {})
        write(path, more)
        assert read_journal(path) == (HEADER, as_read(rows[:whole] + more))
        # Nothing of the torn line is left: as if the run had never been interrupted.
        other = Path(folder) / "journal.1.csv"
        write(other, rows[:whole] + more)
        assert path.read_bytes() == other.read_bytes()


@given(value=numbers)
def test_numbers_come_back_in_full_precision(value):
    assert float(format_cell(value)) == value


def test_cells_are_numbers_and_booleans_are_one_and_zero():
    assert [format_cell(v) for v in (True, False, 3, 0.1, "label")] == ["1", "0", "3", "0.1", "label"]


@pytest.mark.parametrize(
    "other",
    [
        {**HEADER, "device": "NVIDIA H200"},
        {key: HEADER[key] for key in ("device", "key")},
        {**HEADER, "noise_backend": "cuda"},
    ],
)
def test_another_header_is_refused_and_the_file_stays(tmp_path, other):
    path = tmp_path / "journal.0.csv"
    write(path, [(1, 0.5, True)])
    before = path.read_bytes()
    with pytest.raises(EvaluationError, match="was begun with") as caught:
        write(path, [(2, 0.5, True)], header=other)
    assert path.read_bytes() == before
    name = next(k for k in sorted({*HEADER, *other}) if HEADER.get(k) != other.get(k))
    assert f"{name}={HEADER.get(name)!r}" in caught.value.what
    assert f"{name}={other.get(name)!r}" in caught.value.what


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "journal.0.csv"
    write(path, [(1, 0.5, True)])
    with pytest.raises(EvaluationError, match="other columns"):
        write(path, [], columns=(*COLUMNS, "near_tie"))
    with pytest.raises(EvaluationError, match="other columns"):
        write(path, [], columns=COLUMNS[::-1])


def test_another_shards_journal_whose_header_was_torn_holds_nothing_to_mix(tmp_path):
    for content in (b"", b'# {"device"', b'# {"device": "cpu"}\nindex,lo'):
        (tmp_path / "journal.1.csv").write_bytes(content)
        Journal.check_header(tmp_path / "journal.1.csv", HEADER, COLUMNS)


@pytest.mark.parametrize("line", ["1,0.5\n", "1,0.5,1,1\n", "\n"])
def test_a_whole_line_with_other_cells_is_a_fault_and_names_the_line(tmp_path, line):
    path = tmp_path / "journal.0.csv"
    write(path, [(1, 0.5, True)])
    with open(path, "a") as stream:
        stream.write(line)
    with pytest.raises(EvaluationError, match="line 4 has"):
        read_journal(path)


@pytest.mark.parametrize("first", ["index,loss,robust", "# {", "# [1]", "# 5", "\x00\x00"])
def test_what_is_no_journal_is_refused(tmp_path, first):
    path = tmp_path / "journal.0.csv"
    path.write_text(f"{first}\nindex,loss,robust\n1,0.5,1\n")
    with pytest.raises(EvaluationError, match="is not a journal"):
        read_journal(path)
    with pytest.raises(EvaluationError, match="is not a journal"):
        write(path, [])


def test_rows_are_on_disk_for_other_readers_before_append_returns(tmp_path):
    path = tmp_path / "journal.0.csv"
    journal = Journal(path, header=HEADER, columns=COLUMNS)
    for count in range(1, 4):
        journal.append([(count, 0.0, False)])
        assert len(read_journal(path)[1]) == count
    journal.close()


def test_journals_of_all_shards_sorted(tmp_path):
    for name in ("journal.1.csv", "journal.0.csv", "records.csv", ".journal.2.csv.tmp"):
        (tmp_path / name).write_text("")
    assert [path.name for path in journals(tmp_path)] == ["journal.0.csv", "journal.1.csv"]
