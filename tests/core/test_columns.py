from robust_transfer.core.columns import columns


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks():
    assert columns([("key", "n"), ("ab12", "1000"), ("c", "")]) == "key   n\nab12  1000\nc"
