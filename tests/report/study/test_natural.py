from pathlib import Path

import yaml

from robust_transfer.report.study import natural

CONF = Path(__file__).resolve().parents[3] / "conf"
BASE = yaml.safe_load((CONF / "experiment" / "_natural.yaml").read_text())
PRESET = yaml.safe_load((CONF / "experiment" / "natural.yaml").read_text())
SWEPT = {name: str(text).split(",") for name, text in BASE["hydra"]["sweeper"]["params"].items()}


def cells(*tables):
    return [cell for spec in tables for cell in spec.cells(None)]


def test_tables_2_to_4_hold_what_the_preset_sweeps():
    models = {(cell.pretrain, cell.finetune) for cell in cells(*natural.TABLES[:3])}
    assert models == {tuple(name.removeprefix("natural/").split("_")) for name in SWEPT["cell"]}
    assert {(cell.dataset, cell.shots) for cell in cells(*natural.TABLES)} == {
        (name.removeprefix("natural/"), shots) for name in SWEPT["dataset"] for shots in natural.SHOTS
    }
    assert {spec.requirements.experiment for spec in natural.TABLES} == {PRESET["label"]}


def test_tables_ask_for_the_presets_threat_and_noise():
    eps, sigma = BASE["autopgd"]["eps"], BASE["certify"]["sigma"]
    assert {spec.requirements.threat for spec in natural.TABLES} == {("l2", eps)}
    assert {c.sigma for c in cells(*natural.TABLES) if c.evaluator == "certify"} == {sigma, 0.0}


def test_the_last_layers_cells_are_files_of_the_preset():
    files = {path.stem for path in (CONF / "cell" / "natural").glob("cr_linear_*.yaml")}
    assert files == {"cr_linear_noise", "cr_linear_plain"}
    assert {(c.pretrain, c.finetune) for c in cells(natural.TABLES[3])} == {("cr", "st_linear")}


def test_the_last_layers_pretraining_is_that_of_the_other_cells():
    plain = yaml.safe_load((CONF / "cell" / "natural" / "cr_linear_plain.yaml").read_text())
    assert plain["pretrain"]["sigma"] == BASE["certify"]["sigma"] and plain["certify"]["sigma"] == 0


def test_long_cells_differ_in_steps_alone_and_fill_a_table_of_their_own():
    folder = CONF / "cell" / "natural"
    long = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*_long.yaml")}
    assert set(long) == {f"{c.pretrain}_{c.finetune}_long" for c in natural.LONG.cells(None)}
    for name, cell in long.items():
        track = name.removesuffix("_long").split("_")[1]
        steps = yaml.safe_load((folder / f"_to_{track}.yaml").read_text())["finetune"]["max_steps"]
        short = yaml.safe_load((folder / f"{name.removesuffix('_long')}.yaml").read_text())
        assert cell.pop("defaults") == short["defaults"]
        assert cell == {"finetune": {"max_steps": 10 * steps}, "label": natural.LONG.requirements.experiment}


def test_the_published_networks_table_holds_what_its_preset_sweeps():
    preset = yaml.safe_load((CONF / "experiment" / "natural_weights.yaml").read_text())
    swept = {
        name: text.split(",") for name, text in preset["hydra"]["sweeper"]["params"].items() if name != "seed"
    }
    table = natural.WEIGHTS.cells(None)
    assert {(c.pretrain.replace("checkpoint", "weights"), c.finetune) for c in table} == {
        tuple(name.removeprefix("natural/").split("_", 1)) for name in swept["cell"]
    }
    assert {c.dataset for c in table} == {name.removeprefix("natural/") for name in swept["dataset"]}
    assert natural.WEIGHTS.requirements.experiment == preset["label"]


def test_the_gpus_table_has_the_radius_and_every_pretraining_of_its_preset():
    preset = yaml.safe_load((CONF / "experiment" / "natural_gpu.yaml").read_text())
    needs = natural.GPU.requirements
    assert (needs.experiment, needs.threat) == (preset["label"], ("l2", preset["autopgd"]["eps"]))
    assert "sigma" not in preset.get("certify", {})  # that of the preset below it
    models = {(cell.pretrain, cell.finetune) for cell in cells(natural.GPU)}
    assert models == {tuple(name.removeprefix("natural/").split("_")) for name in SWEPT["cell"]}


def test_the_radii_table_has_the_cr_cells_of_its_preset():
    preset = yaml.safe_load((CONF / "experiment" / "natural_acr.yaml").read_text())
    models = {f"natural/{cell.pretrain}_{cell.finetune}" for cell in natural.ACR.cells(None)}
    assert models == set(preset["hydra"]["sweeper"]["params"]["cell"].split(","))
    assert natural.ACR.requirements.experiment == preset["label"]
