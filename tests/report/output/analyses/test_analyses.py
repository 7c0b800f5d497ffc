"""Every analysis answers from a store, from published numbers where it can, and finds what was put in."""

import csv

import numpy as np
import pytest
from scipy import stats

from robust_transfer.cli.report import main
from robust_transfer.report.output.analyses.names import ANALYSES
from synthetic_store import add_attack, add_certificates, study

PUBLISHED = ("published", "equivalence", "conditional", "sets", "improvement", "frontier")


def asked(store, out, *words):
    """Run an analysis; return the rows of its CSV."""
    assert main(["analysis", *words, "--store", str(store), "--out", str(out)]) == 0
    [path] = [p for p in out.glob("*.csv") if not p.name.startswith("figure")]
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers_answer(tmp_path, name, capsys):
    rows = asked(tmp_path, tmp_path, name, "--source", "published")
    assert rows and "source: the study's published tables" in capsys.readouterr().out


def test_every_analysis_is_listed_and_an_unknown_one_is_refused(tmp_path, capsys):
    assert main(["analysis", "equivalent", "--store", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "equivalence" in error and all(name in error for name in ANALYSES)


def test_ra_over_sa_falls_with_simclr_on_every_published_set(tmp_path, capsys):
    rows = asked(tmp_path, tmp_path, "conditional", "--source", "published")
    simclr = [float(row["change"]) for row in rows if row["pretrain"] == "simclr"]
    assert len(simclr) == 12 and max(simclr) < 0
    text = " ".join(capsys.readouterr().out.split())
    p = stats.wilcoxon(simclr).pvalue
    assert f"lower on 12 of 12 sets, Wilcoxon p {p:.2g}" in text
    assert "R² of gains in RA on gains in SA is 0.94; had RA/SA of no set changed" in text


def test_ra_over_sa_of_runs_is_the_ratio_and_its_interval_that_of_the_robust_among_the_right(tmp_path):
    add_attack(tmp_path, "pets", 80, 40, source="imagenet")
    add_attack(tmp_path, "pets", 80, 60, source="imagenet", pretrain="at")
    [row] = asked(tmp_path, tmp_path / "out", "conditional")
    assert float(row["change"]) == pytest.approx(25) and float(row["change_if_both_right"]) == pytest.approx(
        25
    )
    won = np.r_[np.ones(20), np.zeros(60)]
    low, high = stats.t.interval(0.95, 79, won.mean(), stats.sem(won))
    assert (float(row["low"]), float(row["high"])) == pytest.approx((100 * low, 100 * high), abs=1)


def test_equal_models_are_equivalent_where_images_are_many_and_undecided_where_few(tmp_path):
    for n, verdict in ((4000, "equivalent"), (100, "cannot decide")):
        store = tmp_path / str(n)
        add_attack(store, "cifar10", 9 * n // 10, 8 * n // 10, n, pretrain="at", source="imagenet")
        add_attack(
            store, "cifar10", 9 * n // 10, 8 * n // 10, n, pretrain="st", source="imagenet", shift=n // 50
        )
        rows = asked(store, store / "out", "equivalence")
        assert {row["verdict"] for row in rows} == {verdict} and {row["metric"] for row in rows} == {
            "sa",
            "ra",
        }


def test_the_sets_that_gain_by_their_size_are_seen(tmp_path):
    store = study(tmp_path, tables=("2",), datasets=("pets", "dtd", "cars", "food101", "cifar10"), n=100)
    rows = asked(store, tmp_path / "out", "sets")
    terms = {(row["pretrain"], row["metric"], row["model"], row["term"]) for row in rows}
    assert ("at", "ra", "on images", "log10 images") in terms and (
        "at",
        "ra",
        "meta-analysis",
        "mean",
    ) in terms


def test_a_model_that_is_worse_in_both_is_not_on_the_frontier(tmp_path):
    add_attack(tmp_path, "pets", 60, 40, source="imagenet")
    add_attack(tmp_path, "pets", 70, 50, source="imagenet", pretrain="at")
    add_attack(tmp_path, "pets", 80, 45, source="imagenet", pretrain="simclr")
    rows = asked(tmp_path, tmp_path / "out", "frontier")
    assert {row["pretrain"]: row["on_frontier"] for row in rows} == {"none": "0", "at": "1", "simclr": "1"}


def test_terciles_say_which_images_a_change_in_acr_comes_from(tmp_path):
    # Pre-training moves images that are certified far already further, and no other.
    plain = [None] * 30 + [700] * 30 + [950] * 30
    add_certificates(tmp_path, "pets", plain, settings={"subset": 500}, source="imagenet")
    moved = [None] * 30 + [700] * 30 + [1000] * 30
    add_certificates(tmp_path, "pets", moved, settings={"subset": 500}, source="imagenet", pretrain="cr")
    rows = asked(tmp_path, tmp_path / "out", "radii")
    shares = {row["tercile"]: float(row["share_of_change"]) for row in rows}
    assert shares == pytest.approx({"hard": 0, "middling": 0, "easy": 100})
    assert all(float(row["ra_change"]) == 0 for row in rows)


def test_labels_saved_are_read_at_equal_height(tmp_path):
    for shots, sa in ((2, 30), (4, 40), (8, 50), (16, 60)):
        add_attack(tmp_path, "pets", 10 * sa, 5 * sa, 1000, shots=shots)
        add_attack(tmp_path, "pets", 10 * (sa + 20), 5 * (sa + 20), 1000, shots=shots, pretrain="simclr")
    rows = asked(tmp_path, tmp_path / "out", "labels")
    by_amount = {(row["amount"], row["metric"]): row for row in rows}
    assert float(by_amount["2.0", "sa"]["times_the_labels"]) == pytest.approx(4)
    assert by_amount["16.0", "sa"]["times_the_labels"] == "" and float(by_amount["16.0", "sa"]["low"]) <= 1


def test_a_point_costs_what_training_above_none_costs(tmp_path):
    for name in ("pets", "dtd"):
        add_attack(tmp_path, name, 60, 40, source="imagenet", finetune_wall=1800)
        add_attack(
            tmp_path, name, 70, 50, source="imagenet", pretrain="at", finetune_wall=1800, pretrain_wall=36000
        )
    [row] = asked(tmp_path, tmp_path / "out", "cost")
    assert float(row["hours_a_target"]) == float(row["hours_a_target_none"]) == 1  # on two devices
    assert float(row["hours_a_point"]) == pytest.approx(10 / 2 / 10)
    assert float(row["kwh_a_point"]) == pytest.approx(0.15)
    assert row["break_even_targets"] == "2"  # 10 h of pre-training, 9 h saved a target


def test_wins_are_counted(tmp_path):
    for seed in (0, 1):
        add_attack(tmp_path, "pets", 60, 40, source="imagenet", seed=seed)
        add_attack(tmp_path, "pets", 70, 35 + 10 * seed, source="imagenet", pretrain="at", seed=seed)
    rows = asked(tmp_path, tmp_path / "out", "improvement")
    assert {row["metric"]: float(row["probability"]) for row in rows} == {"sa": 100, "ra": 50}
    assert (tmp_path / "out" / "figure-improvement-2.png").exists()


def test_what_no_run_allows_is_said(tmp_path, capsys):
    add_attack(tmp_path, "pets", 60, 40, source="imagenet")
    for name in ("equivalence", "conditional", "labels", "radii", "cost"):
        assert main(["analysis", name, "--store", str(tmp_path)]) == 2
        assert "rt-" in capsys.readouterr().err  # what to do
