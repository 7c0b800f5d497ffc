from collections import Counter

from robust_transfer.report.index import published


def test_every_cell_of_the_study_is_there():
    tables = published.results()
    assert {name: len(cells) for name, cells in tables.items()} == {"2": 36, "3": 36, "4": 12, "5": 4}
    assert Counter(cell.pretrain for cell in tables["3"]) == {"none": 12, "cr": 12, "simclr": 12}
    assert {cell.sigma for cell in tables["5"]} == {0.0, 0.5}
    assert len(published.claims()) == 16


def test_units():
    cells = published.all_cells()
    assert all(0 <= values[metric] <= 1 for values in cells.values() for metric in ("sa", "ra"))
    flowers = next(
        v for c, v in cells.items() if (c.dataset, c.pretrain, c.evaluator) == ("flowers102", "cr", "certify")
    )
    assert flowers == {"sa": 0.875, "ra": 0.82, "acr": 1.538}


def test_tables_that_share_a_cell_agree():
    tables = published.results()
    for cell, values in tables["4"].items():
        for other in ("2", "3"):
            assert tables[other].get(cell, values) == values
