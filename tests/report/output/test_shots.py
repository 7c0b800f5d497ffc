import pytest

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import shots
from synthetic_store import add_attack


def test_points_are_means_over_seeds_at_each_number_of_labels(tmp_path):
    for amount in (2, 10):
        for seed in (0, 1):
            add_attack(tmp_path, "pets", 20 + amount + seed, 10, shots=amount, seed=seed)
            add_attack(tmp_path, "pets", 60 + amount, 40, shots=amount, seed=seed, pretrain="simclr")
    add_attack(tmp_path, "pets", 90, 80)  # all labels: no point
    add_attack(tmp_path, "dtd", 30, 20, train_fraction=0.1)
    add_attack(tmp_path, "dtd", 35, 20, train_fraction=0.5)
    add_attack(tmp_path, "cars", 40, 20, shots=5)  # one number of labels is no curve
    drawn = shots.shots_figure(collect(tmp_path))
    values = {(r[0], r[2], r[3], r[4]): r[6] for r in drawn.rows if r[5] == "sa"}
    assert values == {
        ("pets", "none", "shots", 2.0): pytest.approx(0.225),
        ("pets", "none", "shots", 10.0): pytest.approx(0.305),
        ("pets", "simclr", "shots", 2.0): pytest.approx(0.62),
        ("pets", "simclr", "shots", 10.0): pytest.approx(0.70),
        ("dtd", "none", "train_fraction", 0.1): pytest.approx(0.30),
        ("dtd", "none", "train_fraction", 0.5): pytest.approx(0.35),
    }
    assert all(low <= value <= high for *_, value, low, high, _ in drawn.rows)
    assert drawn.shape == (2, 2)


def test_a_store_without_few_labels_says_what_to_run(tmp_path):
    add_attack(tmp_path, "pets", 90, 80)
    add_attack(tmp_path, "dtd", 90, 80, shots=5)
    with pytest.raises(EvaluationError, match=r"dataset\.shots") as error:
        shots.shots_figure(collect(tmp_path))
    assert "dataset.shots=" in error.value.hints[0]
