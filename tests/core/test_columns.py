from robust_transfer.core import columns as module
from robust_transfer.core.columns import columns, terminal_width

ROWS = [("key", "what", "tags"), ("1a", "fine-tuned by cr", "few shots, smoke"), ("2b", "at", "–")]


def test_columns_are_aligned_on_one_line_a_row():
    assert columns(ROWS).splitlines() == [
        "key  what              tags",
        "1a   fine-tuned by cr  few shots, smoke",
        "2b   at                –",
    ]


def test_what_does_not_fit_stands_below_its_row():
    assert columns(ROWS, 30).splitlines() == [
        "key  what",
        "    tags",
        "1a   fine-tuned by cr",
        "    few shots, smoke",
        "2b   at",
    ]
    assert columns(ROWS, 39) == columns(ROWS) and all(
        len(line) <= 20 for line in columns(ROWS, 20).splitlines()[3:]
    )
    assert columns(ROWS, 5).splitlines()[0] == "key"


def test_the_width_is_a_terminals_or_what_columns_says(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_width() is None
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal_width() == 72
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(module.sys, "stdout", type("Terminal", (), {"isatty": lambda self: True})())
    assert terminal_width() == 80
