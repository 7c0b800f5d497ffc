"""What stands in results/ is what the report makes of the committed records, and its numbers are theirs."""

import csv
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from robust_transfer.cli import report

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PACKED = sorted((ROOT / "results").glob("*/stages.tar.xz"))


@pytest.fixture(scope="module", params=PACKED, ids=lambda path: path.parent.name)
def remade(request, tmp_path_factory):
    """The committed folder, its records as a store, and the same files made again from them."""
    store, out = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("out")
    with tarfile.open(request.param) as packed:
        packed.extractall(store, filter="data")
    for path in sorted(request.param.parent.glob("*.md")):
        command = path.stem.split("-") if path.stem.startswith("table-") else [path.stem]
        if command[0] in ("table", "findings"):
            assert report.main([*command, "--store", str(store), "--out", str(out)]) == 0
    return request.param.parent, store, out


def test_the_same_files_are_made_again(remade):
    folder, _, out = remade
    made = {path.name: path.read_bytes() for path in out.iterdir()}
    assert made and made == {name: (folder / name).read_bytes() for name in made}


def values(store, evaluator, metric, radius, **required):
    """Return (target, shots, seed) -> mean of a metric's values, of the models whose lineage is as wanted."""
    means = {}
    for path in sorted(store.glob("eval/*/summary.json")):
        summary = json.loads(path.read_text())
        lineage = summary["lineage"]
        if summary["evaluator"] != evaluator or any(lineage.get(k) != v for k, v in required.items()):
            continue
        rows = list(csv.DictReader((path.parent / "records.csv").read_text().splitlines()))
        correct = np.array([row["correct"] == "1" for row in rows])
        if evaluator == "certify":
            radii = correct * np.array([float(row["radius"]) for row in rows])
            images = radii if metric == "acr" else correct & (radii >= radius)
        else:
            images = correct & np.array([row["robust"] == "1" for row in rows])
        means[summary["dataset"], lineage["shots"], lineage["seed"]] = images.mean()
    return means


def mean_difference(ours, theirs):
    """Return the mean over targets of the mean over the seeds that both have of every target."""
    common = ours.keys() & theirs.keys()
    targets = {key[:2] for key in common}
    shared = set.intersection(*({k[2] for k in common if k[:2] == target} for target in targets))
    return np.mean([np.mean([ours[*t, seed] - theirs[*t, seed] for seed in shared]) for t in targets])


def test_every_difference_between_two_pretrainings_is_that_of_the_records(remade):
    folder, store, _ = remade
    if not (folder / "findings.csv").exists():
        pytest.skip(f"{folder.name} has no findings")
    radius = yaml.safe_load((CONF / "experiment" / "_natural.yaml").read_text())["autopgd"]["eps"]
    tested = 0
    for row in csv.DictReader((folder / "findings.csv").read_text().splitlines()):
        named = re.fullmatch(r"(\w+)_over_(\w+)_(at|cr)_ra_difference", row["finding"])
        if named:
            ours, theirs, track = named.groups()
            evaluator = {"at": "autopgd", "cr": "certify"}[track]
            pair = [
                values(store, evaluator, "ra", radius, finetune=track, pretrain=name)
                for name in (ours, theirs)
            ]
            assert float(row["value"]) == pytest.approx(100 * mean_difference(*pair), abs=1e-9)
            assert f"{float(row['value']):+.1f} points" in row["sentence"]
            tested += 1
    assert tested


def test_every_verdict_on_a_method_is_that_of_the_records(remade):
    folder, store, _ = remade
    path = folder / "table-methods_mini.md"
    if not path.exists():
        pytest.skip(f"{folder.name} has no table of methods")
    row = (
        r"\| (\w+) -> (\w+) +\| (\w+) -> (\w+) +\| (RA|ACR) +\| +(\S+) \[(\S+), (\S+)\] +"
        r"\| +(\S+) +\| ([a-z ]+?) +\|"
    )
    rows = re.findall(row, path.read_text())
    for pretrain, finetune, other_pretrain, other_finetune, metric, value, low, high, p, verdict in rows:
        pair = [
            values(
                store,
                {"RA": "autopgd", "ACR": "certify"}[metric],
                metric.lower(),
                0.5,
                pretrain=a,
                finetune=b,
            )
            for a, b in ((pretrain, finetune), (other_pretrain, other_finetune))
        ]
        scale, rounding = (100, 0.05) if metric == "RA" else (1, 0.0005)
        assert float(value) == pytest.approx(scale * mean_difference(*pair), abs=rounding + 1e-9)
        shown = "better" if float(value) > 0 else "worse"
        assert verdict == (shown if float(p) < 0.05 else "not distinct")
        assert (float(p) > 0.05) or float(low) * float(high) > 0
    assert len(rows) > 20
