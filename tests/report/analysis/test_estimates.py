import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.estimates import from_published, from_runs
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import collect
from robust_transfer.report.index.protocols import Requirements, choose
from synthetic_store import add_attack, add_certificates

SPEC = Requirements(source="mnist5k", experiment="", threat=None)
NONE = Cell("digits", "none", "at", "autopgd", None)
AT = Cell("digits", "at", "at", "autopgd", None)


def results(store, *cells, spec=SPEC):
    index = collect(store)
    return from_runs(index, choose(index, cells, spec))


def test_one_seed_has_the_exact_interval_and_no_deviation(tmp_path):
    add_attack(tmp_path, "digits", 90, 60)
    estimate = results(tmp_path, NONE)[NONE].estimates["ra"]
    exact = stats.binomtest(60, 100).proportion_ci(method="exact")
    assert (estimate.value, estimate.deviation, estimate.method) == (0.6, None, "Clopper-Pearson")
    assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_seeds_have_mean_and_sample_deviation(tmp_path):
    for seed, right in enumerate((80, 84, 91)):
        add_attack(tmp_path, "digits", right, 50, seed=seed)
    result = results(tmp_path, NONE)[NONE]
    estimate = result.estimates["sa"]
    assert estimate.value == pytest.approx(0.85)
    assert estimate.deviation == pytest.approx(np.std([0.80, 0.84, 0.91], ddof=1))
    assert estimate.low < 0.85 < estimate.high
    assert (result.seeds, result.varies) == (3, ("fine-tuning",))


def test_what_varies_is_told_apart(tmp_path):
    for seed in (0, 1):
        add_attack(tmp_path, "digits", 80, 50, pretrain="at", pretrain_seed=seed)
    assert results(tmp_path, AT)[AT].varies == ("pre-training",)


def test_a_draw_of_labels_for_each_seed_is_one_more_thing_that_varies(tmp_path):
    for seed in (0, 1):
        add_attack(tmp_path, "digits", 80, 50, seed=seed, shots=5, split_seed=seed)
    cell = replace(NONE, shots=5)
    result = results(tmp_path, cell)[cell]
    assert (result.seeds, result.varies) == (2, ("fine-tuning", "labels drawn"))


def test_evaluations_of_one_model_are_one_replicate(tmp_path):
    for seed in (0, 1, 2):
        add_attack(tmp_path, "digits", 70, 50, settings={"seed": seed})
    result = results(tmp_path, NONE)[NONE]
    assert (result.seeds, result.estimates["ra"].deviation) == (1, None)
    exact = stats.binomtest(50, 100).proportion_ci(method="exact")
    estimate = result.estimates["ra"]
    assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high), abs=0.02)


def test_pretrainings_are_what_a_pretraining_is_replicated_over(tmp_path):
    # Three pre-trainings decide everything, each fine-tuned three times: three units, not nine.
    for number, right in enumerate((50, 70, 90)):
        for seed in (0, 1, 2):
            options = {"pretrain": "at", "pretrain_seed": number, "seed": seed, "split_seed": seed}
            add_attack(tmp_path, "digits", right, 0, **options)
    for seed in (0, 1, 2):
        add_attack(tmp_path, "digits", 60, 0, seed=seed, split_seed=seed)
    by_cell = results(tmp_path, NONE, AT)
    result, change = by_cell[AT], by_cell[AT].differences["sa"]
    assert (result.pretrainings, result.seeds) == (3, 3)
    half = stats.t.ppf(0.975, 2) * 0.2 / np.sqrt(3)
    assert change.value == pytest.approx(0.1)
    assert (change.high - change.low) / 2 == pytest.approx(half, rel=0.05)
    assert result.estimates["sa"].low < 0.35 and result.estimates["sa"].high > 0.95


def test_only_common_seeds_are_compared_and_that_is_said(tmp_path):
    # Seed 0 failed without pre-training and is missing with it.
    for seed, right in enumerate((30, 70, 70)):
        add_attack(tmp_path, "digits", right, 0, seed=seed, split_seed=seed)
    for seed in (1, 2):
        add_attack(tmp_path, "digits", 70, 0, seed=seed, split_seed=seed, pretrain="at")
    result = results(tmp_path, NONE, AT)[AT]
    assert result.differences["sa"].value == result.gains["sa"].value == 0
    assert result.tags == ("compared on 2 of 3 seeds, those in common",)
    assert result.notices == result.tags


def test_no_common_seed_is_no_comparison(tmp_path):
    add_attack(tmp_path, "digits", 60, 0, seed=0)
    add_attack(tmp_path, "digits", 70, 0, seed=1, pretrain="at")
    result = results(tmp_path, NONE, AT)[AT]
    assert not result.differences and not result.gains
    assert result.tags == ("no seed in common with the models without pre-training",)


def test_a_seed_that_one_pretraining_lacks_is_left_out_and_that_is_said(tmp_path):
    for number, seeds in enumerate(((0, 1, 2), (0, 1))):
        for seed in seeds:
            add_attack(tmp_path, "digits", 50 + seed, 0, pretrain="at", pretrain_seed=number, seed=seed)
    result = results(tmp_path, AT)[AT]
    assert (result.pretrainings, result.seeds, len(result.runs)) == (2, 2, 4)
    assert result.tags == ("unbalanced: 1 of 5 runs left out",)


def test_pretrainings_with_seeds_of_their_own_are_clusters(tmp_path):
    for number in (0, 1, 2):
        for seed in (2 * number, 2 * number + 1):
            add_attack(
                tmp_path, "digits", 50 + 10 * number, 0, pretrain="at", pretrain_seed=number, seed=seed
            )
    result = results(tmp_path, AT)[AT]
    assert (result.pretrainings, result.seeds, result.tags) == (3, 1, ())
    assert result.estimates["sa"].value == pytest.approx(0.6)


def test_none_is_paired_on_the_label_draw_that_each_pretraining_has_of_its_own(tmp_path):
    # Label draw k goes with pre-training k: it decides the level of both models, pre-training adds 5, 10, 15.
    for seed, right in enumerate((30, 50, 80)):
        options = {"seed": seed, "split_seed": seed}
        add_attack(tmp_path, "digits", right, 0, **options)
        add_attack(
            tmp_path, "digits", right + 5 * (seed + 1), 0, pretrain="at", pretrain_seed=seed, **options
        )
    by_cell = results(tmp_path, NONE, AT)
    result, change = by_cell[AT], by_cell[AT].differences["sa"]
    assert (result.pretrainings, result.seeds, by_cell[NONE].seeds, result.tags) == (3, 1, 3, ())
    assert change.value == pytest.approx(0.1)
    half = stats.t.ppf(0.975, 2) * 0.05 / np.sqrt(3)
    assert (change.high - change.low) / 2 == pytest.approx(half, rel=0.4)  # images add some
    assert (change.high - change.low) < 0.5 * (result.estimates["sa"].high - result.estimates["sa"].low)


def test_a_pretraining_whose_draw_none_lacks_is_not_compared(tmp_path):
    for seed in (0, 1):
        add_attack(tmp_path, "digits", 50, 0, seed=seed)
    for seed in (0, 1, 2):
        add_attack(tmp_path, "digits", 60, 0, pretrain="at", pretrain_seed=seed, seed=seed)
    result = results(tmp_path, NONE, AT)[AT]
    assert result.tags == ("compared on 2 of 3 seeds, those in common",)
    assert result.differences["sa"].sample.grid.pretrainings == (0, 1)


def test_one_model_a_cell_is_paired_over_images(tmp_path):
    # Right on the same images and 10 more: far less uncertain than two independent samples would be.
    add_attack(tmp_path, "digits", 60, 30)
    add_attack(tmp_path, "digits", 70, 30, pretrain="at")
    result = results(tmp_path, NONE, AT)[AT]
    change, gain = result.differences["sa"], result.gains["sa"]
    won = np.r_[np.ones(10), np.zeros(90)]
    low, high = stats.t.interval(0.95, 99, won.mean(), stats.sem(won))
    assert (change.low, change.high) == pytest.approx((low, high), abs=1e-6)
    assert change.p == pytest.approx(stats.ttest_1samp(won, 0).pvalue)
    assert gain.value == pytest.approx(70 / 60 - 1) and gain.low > 0 and gain.p == pytest.approx(change.p)


def test_where_nothing_differs_an_exact_bound_is_left(tmp_path):
    add_attack(tmp_path, "digits", 60, 30)
    add_attack(tmp_path, "digits", 70, 30, pretrain="at")
    change = results(tmp_path, NONE, AT)[AT].differences["ra"]
    upper = stats.binomtest(0, 100).proportion_ci(method="exact").high
    assert (change.value, change.p) == (0, 1)
    assert (change.low, change.high) == pytest.approx((-upper, upper))


def test_a_cell_with_none_correct_under_several_seeds_has_an_upper_bound(tmp_path):
    for seed in (0, 1, 2):
        add_attack(tmp_path, "digits", 70, 0, seed=seed)
    estimate = results(tmp_path, NONE)[NONE].estimates["ra"]
    upper = stats.binomtest(0, 100).proportion_ci(method="exact").high
    assert (estimate.low, estimate.high) == (0, pytest.approx(upper))


def test_differences_pair_seeds_that_draw_the_same_labels(tmp_path):
    # Seed 1 drew worse labels for both models; each is right on the same images and `at` on ten more.
    for seed, right in enumerate((70, 30, 50)):
        add_attack(tmp_path, "digits", right, 0, seed=seed)
        add_attack(tmp_path, "digits", right + 10, 0, seed=seed, pretrain="at")
    by_cell = results(tmp_path, NONE, AT)
    change, own = by_cell[AT].differences["sa"], by_cell[AT].estimates["sa"]
    assert change.value == pytest.approx(0.1)
    assert change.high - change.low < 0.3 * (own.high - own.low)


def test_a_gain_is_not_told_where_the_reference_is_near_0(tmp_path):
    add_attack(tmp_path, "digits", 60, 2)
    add_attack(tmp_path, "digits", 70, 14, pretrain="at")
    result = results(tmp_path, NONE, AT)[AT]
    assert set(result.gains) == {"sa"} and set(result.differences) == {"sa", "ra"}


def test_mode_decide_has_no_radius(tmp_path):
    cell = Cell("digits", "none", "cr", "certify", 0.5)
    add_certificates(tmp_path, "digits", [900] * 30, settings={"mode": "decide"})
    assert set(results(tmp_path, cell)[cell].estimates) == {"sa", "ra"}


def test_a_certificates_metrics_are_the_definition(tmp_path):
    cell = Cell("digits", "none", "cr", "certify", 0.5)
    counts = [1000, 900, 845, 700, 520, None]
    add_certificates(tmp_path, "digits", counts)
    estimates = results(tmp_path, cell)[cell].estimates
    lower = [stats.beta.ppf(0.001, c, 1001 - c) for c in counts if c]
    radii = [0.5 * stats.norm.ppf(p) if p > 0.5 else -1 for p in lower]
    assert estimates["sa"].value == pytest.approx(np.sum(np.array(radii) >= 0) / 6)
    assert estimates["ra"].value == pytest.approx(np.sum(np.array(radii) >= 0.5) / 6)
    assert estimates["acr"].value == pytest.approx(np.sum(np.maximum(radii, 0)) / 6)


def test_other_images_within_a_cell_are_refused(tmp_path):
    add_attack(tmp_path, "digits", 60, 30)
    path = add_attack(tmp_path, "digits", 60, 30, seed=1) / "records.csv"
    path.write_text(path.read_text().replace("\n7,", "\n700,"))
    with pytest.raises(EvaluationError, match="other images"):
        results(tmp_path, NONE)


def test_a_cut_records_file_is_named_with_what_to_do(tmp_path):
    path = add_attack(tmp_path, "digits", 60, 30) / "records.csv"
    path.write_text(path.read_text()[:-8])
    with pytest.raises(EvaluationError, match="not whole") as error:
        results(tmp_path, NONE)
    assert error.value.hints[0].startswith("rt-report verify ")


def test_cost_counts_devices(tmp_path):
    add_attack(tmp_path, "digits", 60, 30, pretrain="at", pretrain_wall=600, finetune_wall=60)
    cost = results(tmp_path, AT)[AT].cost
    assert (cost.pretrain, cost.finetune, cost.evaluate) == (600, 120, 12)  # fine-tuned on two devices


def test_published_gains(tmp_path):
    cell = Cell("pets", "at", "at", "autopgd", None)
    result = from_published([cell])[cell]
    assert result.gains["ra"].value == pytest.approx(78.4 / 63.3 - 1)
    assert result.estimates["ra"].low is None


def test_models_that_ran_elsewhere_than_those_they_are_compared_with_say_so(tmp_path):
    for pretrain, torch in (("none", "2.14.1"), ("at", "2.15.0")):
        path = add_attack(tmp_path, "digits", 60, 30, pretrain=pretrain)
        (path / "env.json").write_text(json.dumps({"versions": {"torch": torch}}))
    tag = "without pre-training ran on different versions or hardware: torch 2.14.1"
    assert results(tmp_path, NONE, AT)[AT].notices == (tag,)


def test_seeds_of_one_cell_that_ran_elsewhere_say_so(tmp_path):
    for seed, threads in enumerate((1, 2)):
        path = add_attack(tmp_path, "digits", 60, 30, seed=seed)
        (path / "env.json").write_text(json.dumps({"processor": "x", "threads": threads}))
    [notice] = results(tmp_path, NONE)[NONE].notices
    assert notice == "seeds ran on different versions or hardware: x, 1 threads; x, 2 threads"


def read_list(path, fingerprint):
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps({**status, "fingerprint": fingerprint}))


def test_lists_of_test_images_that_differ_are_named(tmp_path):
    for pretrain, seed, fingerprint in (("none", 0, "a" * 64), ("none", 1, "b" * 64), ("at", 0, "b" * 64)):
        read_list(add_attack(tmp_path, "digits", 60, 30, pretrain=pretrain, seed=seed), fingerprint)
    by_cell = results(tmp_path, NONE, AT)
    both = f"{'a' * 12}, {'b' * 12}"
    assert f"seeds read different lists of test images: {both}" in by_cell[NONE].notices
    assert f"without pre-training read a different list of test images: {both}" in by_cell[AT].notices


def test_other_images_are_never_subtracted(tmp_path):
    add_attack(tmp_path, "digits", 60, 30)
    path = add_attack(tmp_path, "digits", 80, 50, pretrain="at") / "records.csv"
    head, first, *others = path.read_text().splitlines()
    index, label, *rest = first.split(",")
    path.write_text("\n".join([head, ",".join([index, str(int(label) + 1), *rest]), *others]) + "\n")
    result = results(tmp_path, NONE, AT)[AT]
    assert result.estimates["ra"].value == 0.5 and result.differences == {}
    assert "models without pre-training were measured on other images" in result.notices


def test_replicates_of_one_cell_are_of_the_same_images(tmp_path):
    add_attack(tmp_path, "digits", 60, 30)
    path = add_attack(tmp_path, "digits", 60, 30, seed=1) / "records.csv"
    head, first, *others = path.read_text().splitlines()
    path.write_text("\n".join([head, "7" + first, *others]) + "\n")
    with pytest.raises(EvaluationError, match="has other images than"):
        results(tmp_path, NONE)
