import csv
import json
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import findings as output
from robust_transfer.report.study import findings, natural, tables
from synthetic_store import add_attack
from synthetic_store import natural as natural_store

TARGETS = [(dataset, shots) for dataset in ("digits", "pets3", "faces") for shots in natural.SHOTS]


def findings_in(store):
    index = collect(store)
    built = {name: tables.build(name, "runs", index) for name in natural.NAMES}
    return {f.finding: f for f in findings.findings(built)}, built


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return natural_store(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def by_name(store):
    return findings_in(store)[0]


@pytest.fixture(scope="module")
def images(store):
    """{(dataset, shots, pretrain, finetune, sigma): {metric: (seeds, images)}}, read without the package."""
    seeds = defaultdict(dict)
    for path in store.glob("eval/*/records.csv"):
        summary = json.loads((path.parent / "summary.json").read_text())
        rows = list(csv.DictReader(path.read_text().splitlines()))
        values = {"sa": np.array([float(row["correct"]) for row in rows])}
        if summary["evaluator"] == "autopgd":
            values["ra"] = np.array([float(row["robust"]) for row in rows])
        else:
            radius = np.array([float(row["radius"]) for row in rows])
            values |= {"ra": values["sa"] * (radius >= natural.EPS), "acr": values["sa"] * radius}
        lineage = summary["lineage"]
        sigma = summary["settings"].get("sigma")
        model = (summary["dataset"], lineage["shots"], lineage["pretrain"], lineage["finetune"], sigma)
        seeds[model][lineage["seed"]] = values
    return {
        model: {metric: np.stack([runs[seed][metric] for seed in sorted(runs)]) for metric in runs[0]}
        for model, runs in seeds.items()
    }


def means(images, pretrain, finetune, metric, sigma):
    return np.array([images[d, s, pretrain, finetune, sigma][metric].mean() for d, s in TARGETS])


SETTING = {"source": "tiny_imagenet", "settings": {"eps": natural.EPS}}
SIGMA = {"at": None, "cr": natural.SIGMA}


@pytest.mark.parametrize(
    "track, pretrain, metric",
    [("at", "at", "ra"), ("at", "st", "sa"), ("at", "simclr", "ra"), ("cr", "cr", "acr"), ("cr", "st", "ra")],
)
def test_gains_differences_and_fits_are_those_of_the_records(by_name, images, track, pretrain, metric):
    name, sigma = f"{pretrain}_over_none_{track}", SIGMA[track]
    ours, none = (means(images, p, track, metric, sigma) for p in (pretrain, "none"))
    scale = 1 if metric == "acr" else 100
    assert by_name[f"{name}_{metric}_difference"].value == pytest.approx(scale * np.mean(ours - none))
    gain = by_name[f"{name}_{metric}_gain"]
    if gain.targets == 6:  # else it leaves out targets where none is near 0, and says so
        assert gain.value == pytest.approx(100 * np.mean(ours / none - 1))
    else:
        assert f"left out on {6 - gain.targets} (" in gain.sentence
    if metric != "ra":
        return
    sa, none_sa = (means(images, p, track, "sa", sigma) for p in (pretrain, "none"))
    fit = by_name[f"{name}_ra_on_sa_r2"]
    assert fit.value == pytest.approx(stats.linregress(sa - none_sa, ours - none).rvalue ** 2)
    assert 0 <= fit.low < fit.high <= 1 and "had RA/SA of no target changed" in fit.sentence


@pytest.mark.parametrize("track, pretrain", [("at", "at"), ("cr", "simclr")])
def test_robustness_among_images_that_both_classify_right(by_name, images, track, pretrain):
    sigma, changes = SIGMA[track], []
    for dataset in ("digits", "pets3", "faces"):
        of_set = []
        for shots in natural.SHOTS:
            ours, none = (images[dataset, shots, p, track, sigma] for p in (pretrain, "none"))
            both = (ours["sa"] > 0) & (none["sa"] > 0)
            of_set.append((ours["ra"][both].sum() - none["ra"][both].sum()) / both.sum())
        changes.append(np.mean(of_set))
    finding = by_name[f"{pretrain}_over_none_{track}_ra_if_both_right"]
    assert finding.value == pytest.approx(100 * np.mean(changes))


FIXED = [
    ("at_over_none_at", ("at", "at", None), ("none", "at", None), "Table 2"),
    ("simclr_over_none_at", ("simclr", "at", None), ("none", "at", None), "Table 2"),
    ("at_over_st_at", ("at", "at", None), ("st", "at", None), "Table 4"),
    ("cr_over_none_cr", ("cr", "cr", natural.SIGMA), ("none", "cr", natural.SIGMA), "Table 3"),
    ("simclr_over_none_cr", ("simclr", "cr", natural.SIGMA), ("none", "cr", natural.SIGMA), "Table 3"),
    ("cr_over_st_cr", ("cr", "cr", natural.SIGMA), ("st", "cr", natural.SIGMA), "Table 4"),
]


def test_the_contrasts_fixed_before_the_run_are_six_and_adjusted_among_themselves(by_name):
    fixed = [f for f in by_name.values() if f.answers]
    assert [(f.finding, f.answers) for f in fixed] == [(f"{n}_ra_difference", t) for n, *_, t in FIXED]
    adjusted = multipletests([f.p for f in fixed], method="holm")[1]
    assert [f.p_holm for f in fixed] == pytest.approx(list(adjusted))
    explored = [f for f in by_name.values() if not f.answers]
    assert explored and all(f.p_holm is None and f.verdict == "" for f in explored)
    assert not any(word in f.sentence for f in explored for word in ("improves", "lowers", "agrees"))


@pytest.mark.parametrize("name, first, second, table", FIXED)
def test_a_fixed_contrast_is_that_of_the_records_and_says_what_follows(
    by_name, images, name, first, second, table
):
    finding = by_name[f"{name}_ra_difference"]
    ours, theirs = (
        np.array([images[d, s, *model]["ra"].mean() for d, s in TARGETS]) for model in (first, second)
    )
    assert finding.value == pytest.approx(100 * np.mean(ours - theirs))
    sets = [np.mean((ours - theirs)[k : k + 2]) for k in (0, 2, 4)]
    expected = "improves" if finding.value > 0 else "lowers"
    if min(sets) < 0 < max(sets):
        expected = "differs between sets"
    assert finding.verdict == (expected if finding.p_holm < 0.05 else "no clear change")
    low, high = stats.t.interval(0.95, 2, np.mean(sets), stats.sem(sets))
    assert (finding.like_low, finding.like_high) == pytest.approx((100 * low, 100 * high))
    assert (
        f" RA: {finding.value:+.1f} points [{finding.low:+.1f}, {finding.high:+.1f}] {{" in finding.sentence
    )
    scope = "(on 6 of 12 targets of 3 sets of 8-pixel images, pre-trainings: 1, seeds: 3)."
    assert f"{scope} This " in finding.sentence and finding.sentence.endswith(f" {table} of the paper.")
    assert "{verb}" not in finding.sentence


@pytest.mark.parametrize(
    "pretrain, other, robust, answer",
    [
        ("at", "none", (100, 180), "agrees with Table 2"),
        ("at", "none", (180, 100), "contradicts Table 2"),
        ("at", "none", (100, 100), "cannot decide on Table 2"),
        ("at", "st", (100, 100), "agrees with Table 4"),
        ("at", "st", (100, 180), "contradicts Table 4"),
        ("at", "st", (180, 100), "contradicts Table 4"),
        ("at", "st", (100, 106), "cannot decide on Table 4"),
    ],
)
def test_what_follows_for_the_papers_claim(tmp_path, pretrain, other, robust, answer):
    for dataset in ("digits", "pets3", "faces"):
        options = {"experiment": "natural", "shots": 5, "n": 200, **SETTING}
        for name, ra in zip((other, pretrain), robust, strict=True):
            add_attack(tmp_path, dataset, 190, ra, pretrain=name, **options)
    sentence = findings_in(tmp_path)[0][f"{pretrain}_over_{other}_at_ra_difference"].sentence
    assert sentence.endswith(f" This {answer} of the paper.")


def test_sets_that_disagree_in_sign_improve_nothing(tmp_path):
    options = {"experiment": "natural", "shots": 5, "n": 200, **SETTING}
    for dataset, at in (("digits", 190), ("pets3", 30), ("faces", 190)):
        add_attack(tmp_path, dataset, 60, 60, **options)
        add_attack(tmp_path, dataset, at, at, pretrain="at", **options)
    finding = findings_in(tmp_path)[0]["at_over_none_at_ra_difference"]
    assert finding.value > 0 and finding.low > 0 and finding.p_holm < 0.05
    assert finding.verdict == "differs between sets" and "improves" not in finding.sentence
    assert "rises on 2 of 3 sets" in finding.sentence


def test_one_pretraining_is_called_that(by_name):
    sentence = by_name["at_over_none_at_ra_difference"].sentence
    assert sentence.startswith("With AT fine-tuning, this AT pre-trained network instead of none ")


def test_the_plain_classifiers_accuracy(by_name, images):
    finding = by_name["st_linear_sigma0_sa"]
    expected = 100 * means(images, "cr", "st_linear", "sa", 0.0).mean()
    assert finding.value == pytest.approx(expected) and finding.low < expected < finding.high
    assert f"reaches SA {expected:.1f} % [" in finding.sentence and finding.verdict == ""


def test_every_finding_names_its_stages(by_name, images):
    runs = {"gain": 2 * 6 * 3, "sigma0_sa": 6 * 3}
    for end, number in runs.items():
        chosen = [f for name, f in by_name.items() if name.endswith(end)]
        assert chosen and all(len({run.key for run in f.runs}) == number for f in chosen)


def test_targets_without_a_gain_are_named(tmp_path):
    options = {"experiment": "natural", "n": 40, **SETTING}
    robust = {
        ("digits", 20): (5, 35),
        ("digits", 5): (35, 5),
        ("pets3", 5): (0, 30),
        ("faces", 20): (20, 20),
    }
    for (dataset, shots), (none, at) in robust.items():
        add_attack(tmp_path, dataset, 36, none, shots=shots, **options)
        add_attack(tmp_path, dataset, 36, at, shots=shots, pretrain="at", **options)
    by_name, built = findings_in(tmp_path)
    name = "at_over_none_at_ra"
    gain, difference = by_name[f"{name}_gain"], by_name[f"{name}_difference"]
    assert (gain.targets, difference.targets) == (3, 4)
    # sets count alike: digits has two targets
    assert gain.value == pytest.approx(100 * np.mean([np.mean([35 / 5 - 1, 5 / 35 - 1]), 0]))
    assert difference.value == pytest.approx(100 * np.mean([0, 30, 0]) / 40)
    assert "left out on 1 (pets3 5-shot), where the other is near 0" in gain.sentence
    assert "on 4 of 12 targets" in gain.sentence
    assert by_name["at_over_none_at_sa_difference"].value == 0  # equal on every image
    assert not any(name.startswith(("st_", "simclr_", "cr_")) for name in by_name)
    text = output.to_markdown(list(by_name.values()), built)
    assert "rt-train experiment=natural" in text
