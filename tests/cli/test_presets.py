"""The presets are the study's tables: every published cell is planned, and nothing else."""

import csv
import functools
from importlib import resources

import pytest
import yaml

from robust_transfer.cli import compose, launching, shipped
from robust_transfer.core.errors import ConfigError
from tiny_runs import shipped_configs


@functools.cache
def planned(*words):
    with shipped_configs():
        return launching.planned(compose.read("train", list(words), multirun=False))


def published_cells(table):
    text = (
        resources.files("robust_transfer.report.index.reference")
        .joinpath("published_results.csv")
        .read_text()
    )
    rows = [row for row in csv.DictReader(text.splitlines()) if row["table"] == table]
    return {(r["pretrain"], r["finetune"], r["dataset"], r["evaluator"], r["sigma"]) for r in rows}


def planned_cells(jobs):
    cells = set()
    for job in jobs:
        for stage in (stage for stage in job.stages if stage.kind == "eval"):
            sigma = getattr(stage.config, "sigma", "")
            lineage = stage.lineage
            evaluator = stage.identity["evaluator"]
            cells.add((lineage.pretrain, lineage.finetune, stage.dataset.name, evaluator, str(sigma)))
    return cells


def planned_on_two_sets(table):
    return planned(f"experiment=table{table}", "dataset=cifar10,cifar100")


@pytest.mark.slow
@pytest.mark.parametrize("table", ["2", "3", "4", "5"])
def test_a_preset_plans_the_published_cells(table):
    published = published_cells(table)
    preset = yaml.safe_load((shipped.conf_directory() / "experiment" / f"table{table}.yaml").read_text())
    names = preset["hydra"]["sweeper"]["params"]["dataset"].split(",")
    assert set(names) == {cell[2] for cell in published} and len(names) == len(set(names))
    jobs = planned_on_two_sets(table)
    assert planned_cells(jobs) == {cell for cell in published if cell[2] in ("cifar10", "cifar100")}
    assert {job.config.label for job in jobs} == {f"table{table}"}


@pytest.mark.slow
def test_tables_share_their_stages():
    def keys(table):
        jobs = planned_on_two_sets(table.removeprefix("table"))
        return {s.key for job in jobs for s in job.stages if job.config.dataset.name == "cifar10"}

    assert len(keys("table2") & keys("table4")) == 6  # at and simclr: pre-training, fine-tuning, evaluation
    assert len(keys("table3") & keys("table4")) == 6
    assert len(keys("table3") & keys("table5")) == 1  # cr pre-training


def test_the_at_track_ends_on_a_plateau_of_a_held_out_part():
    config = planned("experiment=table2", "dataset=pets")[0].config
    schedule = config.finetune.schedule
    assert (schedule.name, config.finetune.epochs, schedule.select_on) == ("plateau", None, "validation")
    assert config.dataset.validation_fraction == 0.1
    assert config.evaluator_settings["autopgd"].num_restarts == 5


@pytest.mark.parametrize("method", ["pretrain=cr", "finetune=at"])
def test_overriding_what_a_cell_sets_is_refused(method):
    with pytest.raises(ConfigError, match="set by the cells"):
        planned("experiment=table4", method)


@pytest.mark.slow
def test_all12_is_any_recipe_over_the_twelve_sets():
    jobs = planned("experiment=all12", "pretrain=simclr", "finetune=cr")
    assert len({job.config.dataset.name for job in jobs}) == 12
    assert len({job.stages[0].key for job in jobs}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("table, networks, without", [("2", 2, 1), ("4", 4, 0)])
def test_a_table_is_replicated_over_pretrainings_and_none_has_none_of_them(table, networks, without):
    jobs = planned(f"experiment=table{table}", "dataset=cifar10", "pretrain.seed=0,1")

    def keys(kind):
        return {stage.key for job in jobs for stage in job.stages if stage.kind == kind}

    models = 3 if table == "2" else 6
    assert len(keys("pretrain")) == 2 * networks
    assert len(keys("finetune")) == len(jobs) == 2 * (models - without) + without


def test_a_seed_of_pretraining_can_follow_that_of_fine_tuning():
    jobs = planned(
        "experiment=table2", "dataset=pets", "pretrain=none,at", "seed=0,1", "pretrain.seed=${seed}"
    )
    seeds = [(job.config.seed, getattr(job.config.pretrain, "seed", None)) for job in jobs]
    assert seeds == [(0, None), (1, None), (0, 0), (1, 1)]


def test_one_run_refuses_a_seed_of_pretraining_that_it_has_not():
    with pytest.raises(ConfigError, match=r"pretrain\.seed is not used by pretrain=none"):
        planned("pretrain=none", "finetune=at", "dataset=pets", "pretrain.seed=1")


def test_a_launcher_runs_what_jobs_share_first_and_once_teachers_too():
    jobs = planned("experiment=methods_mini", "cell=methods_mini/deacl", "seed=0", "finetune=st_linear,at")
    assert launching.shared_pretrainings(jobs) == jobs[:1]
    assert [stage.lineage.pretrain for stage in jobs[0].stages[:2]] == ["simclr", "deacl"]
    assert launching.shared_pretrainings(jobs[:1]) == []
