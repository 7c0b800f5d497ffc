from pathlib import Path

import yaml

from robust_transfer.report.study import mini_study

PRESET = Path(__file__).resolve().parents[3] / "conf" / "experiment" / "mini_study.yaml"


def test_the_tables_hold_what_the_preset_sweeps_and_nothing_else():
    preset = yaml.safe_load(PRESET.read_text())
    swept = {name: str(text).split(",") for name, text in preset["hydra"]["sweeper"]["params"].items()}
    cells = [cell for spec in mini_study.TABLES for cell in spec.cells(None)]
    models = {(cell.pretrain, cell.finetune, cell.sigma) for cell in cells}
    named = [name.removeprefix("mini/").split("_") for name in swept["cell"]]
    sigma = {"at": None, "cr": 0.5}
    whole = {(name[0], name[1], sigma[name[1]]) for name in named if len(name) == 2}
    last = {"noise": ("cr", "st_linear", 0.5), "plain": ("cr", "st_linear", 0.0)}
    assert models == whole | {last[name[2]] for name in named if len(name) == 3}
    assert list(mini_study.DATASETS) == swept["dataset"]
    assert [str(shots) for shots in mini_study.SHOTS] == swept["dataset.shots"]
    assert {(cell.dataset, cell.shots) for cell in cells} == {
        (dataset, shots) for dataset in mini_study.DATASETS for shots in mini_study.SHOTS
    }
    assert {spec.requirements.experiment for spec in mini_study.TABLES} == {preset["label"]}
