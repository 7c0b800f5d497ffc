import numpy as np
import pytest

from robust_transfer.report.index import published
from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import claims as output
from robust_transfer.report.study import claims
from synthetic_store import add_attack, study


def verdicts(store, source):
    index = collect(store)
    return {v.claim: v for v in claims.verdicts(claims.tables_needed(source, index))}


def test_every_published_number_is_reproduced_from_the_published_tables(tmp_path):
    judged = verdicts(tmp_path, "published")
    expected = {
        "table2_at_mean_rel_sa": 11.4, "table2_at_mean_rel_ra": 12.6,
        "table2_simclr_mean_rel_sa": 14.1, "table2_simclr_mean_rel_ra": 10.0,
        "table3_cr_mean_rel_sa": 7.1, "table3_cr_mean_rel_ra": 7.5, "table3_cr_mean_rel_acr": 7.3,
        "table3_simclr_mean_rel_sa": 9.8, "table3_simclr_mean_rel_ra": 9.1, "table3_simclr_mean_rel_acr": 6.9,
    }  # fmt: skip
    assert {name: round(judged[name].value, 1) for name in expected} == expected
    fits = {
        "figure2_at_r2": 0.98, "figure2_simclr_r2": 0.94,
        "figure3_cr_r2_sa_ra": 0.92, "figure3_simclr_r2_sa_ra": 0.89,
        "figure3_cr_r2_sa_acr": 0.94, "figure3_simclr_r2_sa_acr": 0.86,
    }  # fmt: skip
    assert {name: round(judged[name].value, 2) for name in fits} == fits
    assert all(judged[claim.name].verdict == "agrees" for claim in published.claims())
    # Over sets like these one of the headline numbers is not distinct from 0.
    acr = judged["table3_cr_mean_rel_acr"]
    assert (round(acr.low, 1), round(acr.high, 1)) == (-0.2, 14.8)


def test_all_target_tasks_fails_and_names_the_sets(tmp_path):
    judged = verdicts(tmp_path, "published")
    falling = {
        "all_sets_improve_2_at_ra": {"birdsnap", "cars"},
        "all_sets_improve_2_simclr_ra": {"birdsnap", "cars", "aircraft"},
        "all_sets_improve_3_cr_ra": {"food101", "birdsnap", "cars", "aircraft"},
    }
    for name, sets in falling.items():
        assert judged[name].verdict == "differs"
        assert {part.split()[0] for part in judged[name].detail.removeprefix("falls: ").split(", ")} == sets
        assert judged[name].value == 12 - len(sets)
    assert len([name for name in judged if name.startswith("all_sets_improve_")]) == 2 * 2 + 2 * 3


def test_an_empty_store_has_not_enough_runs_and_says_what_to_run(tmp_path):
    judged = verdicts(tmp_path, "runs")
    assert {v.verdict for v in judged.values()} == {"not enough runs"}
    assert (
        "rt-train experiment=table2 pretrain=none dataset=food101,cifar100,"
        in judged["table2_at_mean_rel_sa"].detail
    )
    assert judged["table2_at_mean_rel_sa"].value is None


@pytest.mark.slow
def test_a_part_of_the_sets_is_not_enough(tmp_path):
    judged = verdicts(study(tmp_path, tables=("2",), datasets=("pets", "dtd", "caltech101")), "runs")
    claim = judged["table2_at_mean_rel_sa"]
    assert claim.verdict == "not enough runs"
    assert "known for 3 of 12 sets" in claim.detail
    # the mean of (87-73)/73, (66-54.5)/54.5 and (88.5-66.5)/66.5, 200 images each
    gains = [round(200 * a) / round(200 * b) - 1 for a, b in ((0.869, 0.732), (0.658, 0.543), (0.885, 0.667))]
    assert claim.value == pytest.approx(100 * np.mean(gains))


@pytest.mark.slow
def test_runs_with_the_published_accuracies_hold_with_intervals(tmp_path):
    judged = verdicts(study(tmp_path, tables=("2",)), "runs")
    for name in ("table2_at_mean_rel_sa", "table2_at_mean_rel_ra", "table2_simclr_mean_rel_ra"):
        claim = judged[name]
        assert claim.verdict == "agrees"
        assert claim.low < claim.value < claim.high
        assert claim.value == pytest.approx(claim.published, abs=0.3)
    fit = judged["figure2_at_r2"]
    assert fit.low <= fit.value <= fit.high
    assert "[" in judged["all_sets_improve_2_at_ra"].detail


@pytest.mark.slow
def test_runs_with_other_accuracies_fail(tmp_path):
    for cell in published.results()["2"]:
        shares = (16, 15) if cell.pretrain == "at" else (10, 9)
        add_attack(tmp_path, cell.dataset, *shares, 20, pretrain=cell.pretrain, source="imagenet")
    judged = verdicts(tmp_path, "runs")
    assert judged["table2_at_mean_rel_sa"].verdict == "differs"
    assert judged["table2_at_mean_rel_sa"].value == pytest.approx(60)
    assert judged["all_sets_improve_2_at_sa"].verdict == "agrees"
    assert judged["all_sets_improve_2_simclr_sa"].detail.startswith(
        "no set falls; no change: food101, cifar100"
    )
    # No set is shown to fall, and none to rise.
    assert judged["all_sets_improve_2_simclr_sa"].verdict == "inconclusive"


@pytest.mark.slow
def test_a_weak_experiment_proves_nothing(tmp_path):
    # Truly 4 points below the published gains, on 60 images: neither agreement nor difference is shown.
    random = np.random.Generator(np.random.PCG64(2))
    for cell, values in published.results()["2"].items():
        sa = values["sa"] - (0.04 if cell.pretrain != "none" else 0)
        right = random.binomial(60, sa)
        robust = random.binomial(right, values["ra"] / values["sa"])
        options = {"pretrain": cell.pretrain, "source": "imagenet", "shift": int(random.integers(60))}
        add_attack(tmp_path, cell.dataset, right, robust, 60, **options)
    judged = verdicts(tmp_path, "runs")
    for name in ("table2_at_mean_rel_ra", "table2_simclr_mean_rel_ra"):
        assert judged[name].verdict == "inconclusive"
        assert "ours minus published" in judged[name].detail


@pytest.mark.slow
def test_a_set_that_falls_is_shown_to(tmp_path):
    for cell in published.results()["2"]:
        fell = cell.dataset == "cars" and cell.pretrain == "at"
        sa = 100 if cell.pretrain == "none" else 60 if fell else 140
        add_attack(tmp_path, cell.dataset, sa, 50, 200, pretrain=cell.pretrain, source="imagenet")
    judged = verdicts(tmp_path, "runs")
    assert judged["all_sets_improve_2_at_sa"].verdict == "differs"
    assert "shown to fall: cars" in judged["all_sets_improve_2_at_sa"].detail
    assert judged["all_sets_improve_2_simclr_sa"].verdict == "agrees"


def test_the_files_hold_the_columns_that_were_promised(tmp_path):
    index = collect(tmp_path)
    judged = claims.verdicts(claims.tables_needed("published", index))
    header = output.to_csv(judged, []).splitlines()[0]
    assert header.startswith("claim,published,value,low,high,verdict,detail")
    assert output.to_markdown(judged, "published", []).startswith("| claim ")
