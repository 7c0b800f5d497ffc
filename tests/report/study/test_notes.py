"""Warnings that differ in numbers alone are one note with a range, under one symbol."""

from types import SimpleNamespace

from robust_transfer.report.study import notes


def result(target, *notices):
    return SimpleNamespace(cell=SimpleNamespace(target=target), notices=notices)


def test_warnings_that_differ_in_numbers_alone_are_one_note_with_the_range():
    results = [
        result("pets", "saturated: 9 of 200 images", "data: 1,020 of 2,040"),
        result("cars", "saturated: 10 of 200 images"),
        result("dtd", "saturated: 2 of 200 images", "data: 980 of 2,040"),
    ]
    assert len({*notes.symbols(results).values()}) == 2
    assert notes.noticed(results) == [
        "* data: 980 to 1,020 of 2,040 (pets, dtd)",
        "† saturated: 2 to 10 of 200 images",
    ]


def test_warnings_of_other_words_keep_symbols_of_their_own():
    results = [result("pets", "near chance: 0.1", "smoke")]
    assert notes.symbols(results) == {"near chance: 0.1": "*", "smoke": "†"}
