import csv
import json
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from robust_transfer.report.index.collect import collect
from robust_transfer.report.output import findings as output
from robust_transfer.report.study import findings, mini_study, tables
from synthetic_store import add_attack
from synthetic_store import mini_study as mini_store

TARGETS = [(dataset, shots) for dataset in ("digits", "textures", "faces") for shots in (2, 5, 20)]


def found_in(store):
    index = collect(store)
    built = {name: tables.build(name, "runs", index) for name in mini_study.NAMES}
    return {f.finding: f for f in findings.findings(built)}, built


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return mini_store(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def found(store):
    return found_in(store)[0]


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
            values |= {"ra": values["sa"] * (radius >= 0.5), "acr": values["sa"] * radius}
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


SIGMA = {"at": None, "cr": 0.5}


@pytest.mark.parametrize(
    "track, pretrain, metric",
    [("at", "at", "ra"), ("at", "st", "sa"), ("at", "simclr", "ra"), ("cr", "cr", "acr"), ("cr", "st", "ra")],
)
def test_gains_differences_and_fits_are_those_of_the_records(found, images, track, pretrain, metric):
    name, sigma = f"{pretrain}_over_none_{track}", SIGMA[track]
    ours, none = (means(images, p, track, metric, sigma) for p in (pretrain, "none"))
    scale = 1 if metric == "acr" else 100
    assert found[f"{name}_{metric}_gain"].value == pytest.approx(100 * np.mean(ours / none - 1))
    assert found[f"{name}_{metric}_difference"].value == pytest.approx(scale * np.mean(ours - none))
    if metric == "sa":
        return
    sa, none_sa = (means(images, p, track, "sa", sigma) for p in (pretrain, "none"))
    for measure, x, y in (("gain", sa / none_sa, ours / none), ("difference", sa - none_sa, ours - none)):
        fit = found[f"{name}_{metric}_on_sa_{measure}_r2"]
        assert fit.value == pytest.approx(stats.linregress(x, y).rvalue ** 2)
        assert fit.low <= fit.value <= fit.high


@pytest.mark.parametrize(
    "name, first, second",
    [
        ("at_over_st_at_ra_difference", ("at", "at", None), ("st", "at", None)),
        ("cr_over_st_cr_ra_difference", ("cr", "cr", 0.5), ("st", "cr", 0.5)),
        ("simclr_over_cr_cr_ra_difference", ("simclr", "cr", 0.5), ("cr", "cr", 0.5)),
        ("st_linear_over_cr_ra_difference", ("cr", "st_linear", 0.5), ("cr", "cr", 0.5)),
    ],
)
def test_intervals_are_those_of_a_bootstrap_written_again(found, images, name, first, second):
    random = np.random.Generator(np.random.PCG64(5))
    samples = np.zeros(2000)
    for r in range(len(samples)):
        for dataset in ("digits", "textures", "faces"):  # its targets share test images and seeds
            rows, seeds = random.integers(0, 40, 40), random.integers(0, 3, 3)
            for shots in (2, 5, 20):
                a, b = (images[dataset, shots, *model]["ra"] for model in (first, second))
                samples[r] += 100 / 9 * (a[np.ix_(seeds, rows)].mean() - b[np.ix_(seeds, rows)].mean())
    low, high = np.quantile(samples, [0.025, 0.975])
    finding = found[name]
    assert (finding.low, finding.high) == pytest.approx((low, high), abs=0.08 * (high - low))
    expected = "improves" if finding.low > 0 else "lowers" if finding.high < 0 else "no clear change"
    assert finding.verdict == expected
    verb = {"no clear change": "makes no clear change to"}.get(expected, expected)
    assert (
        f" {verb} RA: {finding.value:+.1f} points [{finding.low:+.1f}, {finding.high:+.1f}]"
        in finding.sentence
    )
    assert finding.sentence.endswith("(on 9 targets of 8-pixel images, 3 seeds).")


def test_the_plain_classifiers_accuracy(found, images):
    finding = found["st_linear_sigma0_sa"]
    expected = 100 * means(images, "cr", "st_linear", "sa", 0.0).mean()
    assert finding.value == pytest.approx(expected) and finding.low < expected < finding.high
    assert f"reaches SA {expected:.1f} % [" in finding.sentence and finding.verdict == ""


def test_every_finding_names_its_stages(found, images):
    runs = {"gain": 2 * 9 * 3, "sigma0_sa": 9 * 3}
    for end, number in runs.items():
        chosen = [f for name, f in found.items() if name.endswith(end)]
        assert chosen and all(len({run.key for run in f.runs}) == number for f in chosen)


def test_rising_falling_and_undefined_targets_are_named(tmp_path):
    options = {"experiment": "mini_study", "n": 40}
    robust = {
        ("digits", 2): (5, 35),
        ("digits", 5): (35, 5),
        ("textures", 2): (0, 30),
        ("faces", 20): (20, 20),
    }
    for (dataset, shots), (none, at) in robust.items():
        add_attack(tmp_path, dataset, 36, none, shots=shots, **options)
        add_attack(tmp_path, dataset, 36, at, shots=shots, pretrain="at", **options)
    found, built = found_in(tmp_path)
    name = "at_over_none_at_ra"
    assert (found[f"{name}_rises"].value, found[f"{name}_falls"].value) == (2, 1)
    sentence = found[f"{name}_rises"].sentence
    assert (
        "above 0 on 2 (digits 2-shot, textures 2-shot), falls with one below 0 on 1 (digits 5-shot)"
        in sentence
    )
    gain, difference = found[f"{name}_gain"], found[f"{name}_difference"]
    assert (gain.targets, difference.targets) == (3, 4)
    assert gain.value == pytest.approx(100 * np.mean([35 / 5 - 1, 5 / 35 - 1, 0]))
    assert difference.value == pytest.approx(100 * np.mean([30, -30, 30, 0]) / 40)
    assert "undefined on 1 (textures 2-shot), where none has 0" in gain.sentence
    assert gain.sentence == difference.sentence and "on 4 of 9 targets" in gain.sentence
    assert found["at_over_none_at_sa_difference"].verdict == "no clear change"  # equal on every image
    assert not any(name.startswith(("st_", "simclr_", "cr_")) for name in found)
    text = output.to_markdown(list(found.values()), built)
    assert text.count("above 0 on 2 (digits") == 1 and "rt-train experiment=mini_study" in text
