"""What a reader must know of a run reaches every file that people copy numbers from."""

import json

import pytest

from robust_transfer.cli.report import main
from robust_transfer.report.index.collect import collect
from synthetic_store import add_attack, natural, quickstart, study

WARNING = "gradients: zero on 80 % of the images"
TAG = "selected on test"


def flagged(store):
    """Give every evaluation of pre-trained models a warning and a tag."""
    for path in store.glob("eval/*/summary.json"):
        summary = json.loads(path.read_text())
        if summary["lineage"]["pretrain"] != "none":
            summary |= {"flags": [WARNING], "marks": [TAG]}
            path.write_text(json.dumps(summary))
    return store


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    few = root / "few"
    for shots in (2, 5):
        for pretrain in ("none", "simclr"):
            add_attack(few, "pets", 20, 10, 40, shots=shots, pretrain=pretrain)
    return {
        "study": flagged(study(root / "study", datasets=("pets", "dtd", "cars"), n=40)),
        "mini": flagged(natural(root / "mini", seeds=(0,), datasets=("digits", "faces"), n=60)),
        "quick": flagged(quickstart(root / "quick", seeds=(0,))),
        "few": flagged(few),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "store, words",
    [
        ("study", ["table", "2"]),
        ("study", ["table", "3"]),
        ("study", ["figure", "2"]),
        ("study", ["claims"]),
        ("study", ["compare"]),
        ("mini", ["table", "natural4"]),
        ("mini", ["findings"]),
        ("mini", ["figure", "natural2"]),
        ("quick", ["table", "quickstart"]),
        ("quick", ["figure", "quickstart"]),
        ("quick", ["figure", "curve", "certificates"]),
        ("quick", ["compare", "certificates"]),
        ("quick", ["html"]),
        ("quick", ["figure", "top-class", "certificates"]),
        ("few", ["figure", "shots"]),
        ("few", ["analysis", "labels"]),
        ("study", ["analysis", "conditional"]),
        ("study", ["analysis", "improvement"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_every_file_names_warnings_and_tags(stores, tmp_path, store, words, capsys):
    root = stores[store]
    if words[-1] == "certificates":
        index = collect(root)
        pretrained, plain = (
            next(r.key for r in index.runs if r.evaluator == "certify" and r.cell.pretrain == method)
            for method in ("cr", "none")
        )
        words = [*words[:-1], pretrained, plain]
    assert main([*words, "--store", str(root), "--out", str(tmp_path)]) == 0
    texts = {"stdout": capsys.readouterr().out} if words != ["html"] else {}
    suffixes = (".md", ".csv", ".tex", ".html")
    texts |= {path.name: path.read_text() for path in tmp_path.iterdir() if path.suffix in suffixes}
    assert len(texts) > 1 or words == ["html"]
    for name, text in texts.items():
        plain = " ".join(text.replace("\\", "").split())
        assert WARNING in plain and TAG in plain, name
