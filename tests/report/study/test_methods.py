"""The methods' table: what it holds is what its preset sweeps, and verdicts are those of the records."""

from pathlib import Path

import pytest
import yaml
from statsmodels.stats.multitest import multipletests

from robust_transfer.config.methods import FINETUNE, PRETRAIN
from robust_transfer.report.index.collect import collect
from robust_transfer.report.output.tables import to_markdown
from robust_transfer.report.study import methods, registry, tables
from synthetic_store import add_attack

CONF = Path(__file__).resolve().parents[3] / "conf"
# It needs a file.
BY_HAND = {"checkpoint"}


@pytest.mark.parametrize("name", ["methods", "methods_mini"])
def test_the_table_holds_what_its_preset_sweeps_and_every_method(name):
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    preset = yaml.safe_load(text)
    swept = {key: str(value).split(",") for key, value in preset["hydra"]["sweeper"]["params"].items()}
    pretrainings = swept.get("pretrain") or [cell.removeprefix("methods_mini/") for cell in swept["cell"]]
    other_half = next(line for line in text.splitlines() if "finetune=st," in line).split("finetune=")[1]
    finetunings = set(other_half.split(","))
    cells = registry.find(name).cells(None)
    table = {(cell.pretrain, cell.finetune) for cell in cells}
    assert table == {(p, f) for p in pretrainings for f in swept["finetune"]} | {
        (start, f) for start in methods.STARTS for f in finetunings
    }
    assert set(PRETRAIN) - BY_HAND <= set(pretrainings)
    assert set(FINETUNE) - BY_HAND <= finetunings | set(swept["finetune"])
    assert registry.find(name).requirements.experiment == preset["label"]


def test_verdicts_are_paired_tests_adjusted_over_all_of_them(tmp_path):
    robust = {"st": (20, 30, 22), "at": (60, 71, 63), "trades": (21, 32, 20)}
    for finetune, counts in robust.items():
        for seed, ra in enumerate(counts):
            options = {"shots": 20, "seed": seed, "split_seed": seed, "experiment": "methods_mini"}
            add_attack(tmp_path, "digits", 90, ra, pretrain="st", finetune=finetune, **options)
    table = tables.build("methods_mini", "runs", collect(tmp_path))
    tests = {v.better.finetune: v for v in methods.verdicts(table.ordered)}
    assert {name: v.says for name, v in tests.items()} == {"at": "better", "trades": "not distinct"}
    assert tests["at"].change.value == pytest.approx((40 + 41 + 41) / 300)
    tested = [verdict.change.p for verdict in tests.values()]
    assert [verdict.p for verdict in tests.values()] == pytest.approx(multipletests(tested, method="holm")[1])
    text = to_markdown(table)
    assert (
        "st -> at" in text and "not distinct" in text and "cell=methods_mini/acl finetune=st_linear" in text
    )
