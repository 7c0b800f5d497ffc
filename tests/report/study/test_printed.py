"""What the published tables tell of themselves, recomputed with decimal arithmetic."""

import csv
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from importlib import resources

import numpy as np
import pytest

from robust_transfer.report.study import printed

REFERENCE = resources.files("robust_transfer.report.index.reference") / "published_results.csv"
ROWS = [row for row in csv.DictReader(REFERENCE.read_text().splitlines()) if row["metric"] != "acr"]
TABLE_3 = [row for row in ROWS if row["table"] == "3"]


def prints(k, n):
    """Return what k of n images can be printed as."""
    share = Decimal(100 * k) / Decimal(n)
    return {share.quantize(Decimal("0.1"), rounding) for rounding in (ROUND_HALF_EVEN, ROUND_HALF_UP)}


def fits(value, n):
    return any(Decimal(value).quantize(Decimal("0.1")) in prints(k, n) for k in range(n + 1))


def test_thirty_of_72_accuracies_cannot_be_of_500_images():
    impossible = {}
    for row in TABLE_3:
        impossible[row["dataset"]] = impossible.get(row["dataset"], 0) + (not fits(row["value"], 500))
    assert {one.dataset: one.impossible for one in printed.granularity()} == impossible
    assert (len(TABLE_3), sum(impossible.values())) == (72, 30)


def test_two_sets_fit_500_and_nine_every_nth_image():
    by_set = {one.dataset: one for one in printed.granularity()}
    assert [name for name, one in by_set.items() if one.fits_stated] == ["cifar100", "cifar10"]
    assert sorted(name for name, one in by_set.items() if not one.fits_rule) == ["birdsnap", "dtd", "pets"]
    for name in ("cars", "sun397"):
        values = [row["value"] for row in TABLE_3 if row["dataset"] == name]
        assert all(fits(value, by_set[name].rule) for value in values) and by_set[name].rule in (502, 508)


def test_a_chance_fit_is_rare():
    random = np.random.Generator(np.random.Philox(1))
    values = random.integers(300, 950, size=(2000, 6)) / 1000
    lucky = [all(printed.possible(value, 502) for value in six) for six in values]
    assert np.mean(lucky) < 0.05


def test_few_changes_of_table_3_are_shown():
    rows = printed.resolutions()

    def shown(table, pretrain, metric):
        return sum(r.shown for r in rows if (r.table, r.cell.pretrain, r.metric) == (table, pretrain, metric))

    assert (shown("3", "cr", "ra"), shown("3", "simclr", "ra")) == (3, 6)
    one = next(
        r for r in rows if (r.table, r.cell.dataset, r.cell.pretrain, r.metric) == ("3", "pets", "cr", "ra")
    )
    values = {
        row["pretrain"]: float(row["value"]) / 100
        for row in TABLE_3
        if (row["dataset"], row["metric"]) == ("pets", "ra")
    }
    error = np.sqrt(sum(values[p] * (1 - values[p]) for p in ("none", "cr")) / 500)
    assert one.half_width == pytest.approx(1.96 * error, rel=1e-3)


def test_the_smallest_change_is_shown_in_80_of_100():
    one = next(r for r in printed.resolutions() if (r.table, r.cell.dataset, r.metric) == ("3", "pets", "ra"))
    random = np.random.Generator(np.random.Philox(2))
    before = 0.5
    after = random.binomial(500, before + one.smallest, 4000) / 500 - random.binomial(500, before, 4000) / 500
    error = one.smallest / (1.959964 + 0.841621)
    assert np.mean(after > 1.959964 * error) == pytest.approx(0.8, abs=0.05)
