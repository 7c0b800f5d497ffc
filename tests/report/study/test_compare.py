import csv
import io

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import compare as output
from robust_transfer.report.study import compare, tables
from synthetic_store import add_attack, add_certificates, natural, study


def test_ours_stands_beside_published(tmp_path):
    files = output.store_files(collect(study(tmp_path, tables=("2",), datasets=("pets",))))
    rows = list(csv.DictReader(io.StringIO(files["compare.csv"])))
    assert [(r["pretrain"], r["metric"], float(r["published"]), float(r["ours"])) for r in rows] == [
        ("none", "sa", 73.2, 73.0), ("none", "ra", 63.3, 63.5), ("at", "sa", 86.9, 87.0),
        ("at", "ra", 78.4, 78.5), ("simclr", "sa", 88.6, 88.5), ("simclr", "ra", 74.5, 74.5),
    ]  # fmt: skip
    assert "|       -0.2 |    yes |" in files["compare.md"]


def test_tests_against_none_are_the_tests_of_their_intervals_with_holm_over_the_page(tmp_path):
    discordant = {"pets": (3, 17), "cars": (9, 11), "dtd": (2, 5)}
    for dataset, (lost, won) in discordant.items():
        add_attack(tmp_path, dataset, 50, 0, n=100)
        # shifted by `lost`: images 0..lost-1 are lost, 50..50+won-1 are won
        add_attack(tmp_path, dataset, 50 - lost + won, 0, n=100, shift=lost, pretrain="at", source="imagenet")
    tests = compare.paired_tests({"2": tables.build("2", "runs", collect(tmp_path))})["2"]
    for test in (test for test in tests if test.metric == "sa"):
        lost, won = discordant[test.cell.dataset]
        values = np.r_[np.ones(won), -np.ones(lost), np.zeros(100 - won - lost)]
        reference = stats.ttest_1samp(values, 0)
        assert test.p == pytest.approx(reference.pvalue)
        assert (test.low, test.high) == pytest.approx(tuple(reference.confidence_interval()), abs=1e-6)
        assert (test.pretrainings, test.seeds) == (1, 1)
    assert {t.metric for t in tests} == {"sa", "ra"}
    adjusted = multipletests([t.p for t in tests], method="holm")[1]
    assert [t.p_holm for t in tests] == pytest.approx(list(adjusted))


def test_all_seeds_are_tested_and_paired_by_seed(tmp_path):
    # Seed 0 exists without pre-training alone; on the common seeds nothing differs.
    for seed, right in enumerate((30, 70, 70)):
        add_attack(tmp_path, "pets", right, 0, seed=seed)
    for seed in (1, 2):
        add_attack(tmp_path, "pets", 70, 0, seed=seed, pretrain="at", source="imagenet")
    [test] = [
        t
        for t in compare.paired_tests({"2": tables.build("2", "runs", collect(tmp_path))})["2"]
        if t.metric == "sa"
    ]
    assert (test.difference, test.p, test.seeds) == (0, 1, 2)
    assert test.notices == ("compared on 2 of 3 seeds, those in common",)


def test_every_table_is_tested_and_each_pair_once(tmp_path):
    study(tmp_path, tables=("2", "4"), datasets=("cifar10", "cifar100"), n=40)
    natural(tmp_path, seeds=(0,), datasets=("digits",), n=20)
    text = output.store_files(collect(tmp_path))["paired-tests.csv"]
    rows = list(csv.DictReader(io.StringIO(text)))
    tested = {(r["table"], r["pretrain"], r["finetune"]) for r in rows}
    # In table 4 only what does not stand in table 2; CR has no model without pre-training here.
    assert {t for t in tested if t[0] in "24"} == {
        ("2", "at", "at"),
        ("2", "simclr", "at"),
        ("4", "st", "at"),
    }
    for table, track in (("natural2", "at"), ("natural3", "cr")):
        assert {t[1:] for t in tested if t[0] == table} == {(track, track), ("simclr", track)}
    assert {t[1] for t in tested if t[0] == "natural4"} == {"st"}
    expected = multipletests([float(r["p"]) for r in rows], method="holm")[1]
    assert [float(r["p_holm"]) for r in rows] == pytest.approx(list(expected))


def test_two_certifications_are_paired(tmp_path):
    random = np.random.Generator(np.random.PCG64(1))
    base = random.integers(400, 950, size=80)
    one = add_certificates(tmp_path, "digits", base.tolist())
    two = add_certificates(tmp_path, "digits", (base + 20).tolist(), pretrain="cr")
    runs = {run.path: run for run in collect(tmp_path).runs}
    tests = {t.metric: t for t in compare.compare_pair(runs[two], runs[one])}
    acr = tests["acr"]
    assert acr.name == "crossed random effects: images" and acr.low > 0
    assert acr.difference == pytest.approx(runs[two].metrics["acr"] - runs[one].metrics["acr"])
    # Pairing: far narrower than the two models' own intervals.
    stated = runs[one].intervals["acr"]
    assert acr.high - acr.low < 0.5 * (stated["high"] - stated["low"])


def test_other_kinds_and_other_images_are_refused(tmp_path):
    add_attack(tmp_path, "digits", 5, 3, n=10)
    add_attack(tmp_path, "pets", 5, 3, n=10)
    add_attack(tmp_path, "digits", 5, 3, n=12, pretrain="at")
    digits, small, pets = sorted(collect(tmp_path).runs, key=lambda r: (r.dataset, -r.num_images))
    with pytest.raises(EvaluationError, match="different things"):
        compare.compare_pair(digits, pets)
    with pytest.raises(EvaluationError, match="other images"):
        compare.compare_pair(digits, small)


def test_an_empty_store_compares_nothing(tmp_path):
    assert output.store_files(collect(tmp_path))["compare.md"].startswith(
        "No run stands in a published table yet."
    )
