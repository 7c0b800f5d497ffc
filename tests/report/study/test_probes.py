import csv
import io

import pytest
from scipy import stats

from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import compare
from synthetic_store import add_evaluation


def add_probe(store, right, n=200, **options):
    rows = [[i, i % 10, i % 10 if i < right else (i + 1) % 10, int(i < right)] for i in range(n)]
    options = {
        "pretrain": "simclr",
        "finetune": "st_linear",
        "source": "imagenet",
        "lineage": {"pretrain_expected_linear_probe": 64.5},
        "pretrain_recipe": {"epochs": 100, "batch_size": 4096},
        **options,
    }
    return add_evaluation(store, "clean", options.pop("dataset", "imagenet"), rows, **options)


def test_a_linear_probe_stands_beside_what_is_published_for_it(tmp_path):
    path = add_probe(tmp_path, 120)
    files = compare.store_files(collect(tmp_path))
    assert "| simclr   |    100 |  4096 |      64.5 | 60.0 |" in files["compare.md"]
    assert path.name.rsplit("-", 1)[1] in files["compare.md"]
    [row] = csv.DictReader(io.StringIO(files["linear-probes.csv"]))
    exact = stats.binomtest(120, 200).proportion_ci(method="exact")
    numbers = [float(row[name]) for name in ("published", "ours", "low", "high", "difference")]
    assert numbers == pytest.approx([64.5, 60.0, 100 * exact.low, 100 * exact.high, -4.5])


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "digits"},
        {"source": "mnist5k"},
        {"finetune": "st"},
        {"shots": 5},
        {"split": "validation"},
        {"lineage": {}},
    ],
)
def test_what_the_published_value_is_not_about_is_not_beside_it(tmp_path, other):
    add_probe(tmp_path, 120, **other)
    files = compare.store_files(collect(tmp_path))
    assert "linear-probes.csv" not in files and "Linear probe" not in files["compare.md"]
