from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.analysis.averages import differences
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
    found = results(tmp_path, NONE)[NONE].estimates["ra"]
    exact = stats.binomtest(60, 100).proportion_ci(method="exact")
    assert (found.value, found.deviation, found.method) == (0.6, None, "Clopper-Pearson")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_seeds_have_mean_and_sample_deviation(tmp_path):
    for seed, right in enumerate((80, 84, 91)):
        add_attack(tmp_path, "digits", right, 50, seed=seed)
    result = results(tmp_path, NONE)[NONE]
    found = result.estimates["sa"]
    assert found.value == pytest.approx(0.85)
    assert found.deviation == pytest.approx(np.std([0.80, 0.84, 0.91], ddof=1))
    assert found.low < 0.85 < found.high
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


def test_the_seed_interval_has_both_parts_of_the_variance(tmp_path):
    # No image varies within a seed pair's agreement: with all images alike the variance is that of the seeds.
    for seed, right in enumerate((0, 100)):
        add_attack(tmp_path, "digits", right, 0, seed=seed)
    samples = results(tmp_path, NONE)[NONE].estimates["sa"].samples
    values, counts = np.unique(samples, return_counts=True)
    assert values == pytest.approx([0, 0.5, 1])
    assert counts / counts.sum() == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_gains_are_paired_over_images(tmp_path):
    # Right on the same images and 10 more: far less uncertain than two independent samples would be.
    add_attack(tmp_path, "digits", 60, 30)
    add_attack(tmp_path, "digits", 70, 30, pretrain="at")
    gain = results(tmp_path, NONE, AT)[AT].gains
    assert gain["sa"].value == pytest.approx(70 / 60 - 1)
    independent = np.sqrt((0.3 / 0.7 + 0.4 / 0.6) / 100)
    assert (gain["sa"].high - gain["sa"].low) / (2 * 1.96) < 0.6 * independent
    assert (gain["ra"].value, gain["ra"].low, gain["ra"].high) == (0.0, 0.0, 0.0)


def test_differences_are_paired_over_images_and_over_seeds_that_draw_the_same_labels(tmp_path):
    # Seed 1 drew worse labels for both models; each is right on the same images and `at` on ten more.
    for seed, right in enumerate((70, 30)):
        add_attack(tmp_path, "digits", right, 0, seed=seed)
        add_attack(tmp_path, "digits", right + 10, 0, seed=seed, pretrain="at")
    found = results(tmp_path, NONE, AT)
    gap = differences(found[AT], found[NONE]).gains["sa"]
    assert gap.value == pytest.approx(0.1)
    # A difference of 0.1 whichever seeds are drawn: only the images that differ between the models vary.
    assert np.std(gap.samples) == pytest.approx(np.sqrt(0.1 * 0.9 / 100), rel=0.35)
    assert np.std(found[AT].estimates["sa"].samples) > 4 * np.std(gap.samples)


def test_mode_decide_has_no_radius(tmp_path):
    cell = Cell("digits", "none", "cr", "certify", 0.5)
    add_certificates(tmp_path, "digits", [900] * 30, settings={"mode": "decide"})
    assert set(results(tmp_path, cell)[cell].estimates) == {"sa", "ra"}


def test_a_certificates_metrics_are_the_definition(tmp_path):
    cell = Cell("digits", "none", "cr", "certify", 0.5)
    counts = [1000, 900, 845, 700, 520, None]
    add_certificates(tmp_path, "digits", counts)
    found = results(tmp_path, cell)[cell].estimates
    lower = [stats.beta.ppf(0.001, c, 1001 - c) for c in counts if c]
    radii = [0.5 * stats.norm.ppf(p) if p > 0.5 else -1 for p in lower]
    assert found["sa"].value == pytest.approx(np.sum(np.array(radii) >= 0) / 6)
    assert found["ra"].value == pytest.approx(np.sum(np.array(radii) >= 0.5) / 6)
    assert found["acr"].value == pytest.approx(np.sum(np.maximum(radii, 0)) / 6)


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
