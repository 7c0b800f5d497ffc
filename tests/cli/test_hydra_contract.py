"""What the commands ask of Hydra beyond its main entry points; a test each says what a release broke."""

import inspect
import pickle
import re
from pathlib import Path

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import OmegaConf

import robust_transfer.cli as cli
from robust_transfer.cli.compose import hydra_session, read
from robust_transfer.core.errors import ConfigError

PRIVATE = {
    "hydra._internal.callbacks.Callbacks"
}  # a launcher's context needs one; Hydra offers no public maker


def test_the_private_names_of_hydra_that_are_used_are_those_tested_here():
    found = set()
    for path in Path(cli.__file__).parent.glob("*.py"):
        for module, names in re.findall(r"from (hydra\._internal[\w.]*) import ([\w, ]+)", path.read_text()):
            found |= {f"{module}.{name.strip()}" for name in names.split(",")}
    assert found == PRIVATE


def test_callbacks_are_made_from_a_configuration_and_fit_a_launchers_context():
    from hydra._internal.callbacks import Callbacks

    callbacks = Callbacks(OmegaConf.create({"hydra": {"callbacks": None}}))
    with hydra_session("rt-train", None):
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=callbacks)
    assert context.callbacks is callbacks
    parameters = inspect.signature(Plugins.instance().instantiate_launcher).parameters
    assert {"hydra_context", "task_function", "config"} <= set(parameters)


def test_the_loader_lists_the_choices_of_a_group():
    with hydra_session("rt-train", None):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoader)
        assert {"at", "cr", "st"} <= set(loader.get_group_options("finetune"))
        assert set(loader.get_group_options("finetune/schedule")) == {"step", "cosine", "plateau"}


def test_an_override_says_its_key_its_values_and_whether_it_is_a_sweep():
    parser = OverridesParser.create()
    one, some, interval = parser.parse_overrides(["++a.b=[1,2]", "a/b=x,y", "c=interval(0,1)"])
    assert (one.get_key_element(), one.get_value_element_as_str(), one.value()) == ("++a.b", "[1,2]", [1, 2])
    assert (some.get_key_element(), list(some.sweep_string_iterator())) == ("a/b", ["x", "y"])
    assert not one.is_sweep_override() and some.is_discrete_sweep()
    assert interval.is_sweep_override() and not interval.is_discrete_sweep()


def test_a_users_directory_comes_before_the_shipped_configs_and_only_in_its_session(tmp_path):
    (tmp_path / "budget").mkdir()
    (tmp_path / "budget" / "own.yaml").write_text("defaults: [smoke]\nname: own\nmax_steps: 7\n")
    (tmp_path / "budget" / "short.yaml").write_text("defaults: [smoke]\nname: mine\n")
    words = ["pretrain=none", "finetune=st", "dataset=digits"]
    with hydra_session("rt-train", str(tmp_path)):
        [own] = read("train", [*words, "budget=own"], multirun=False).jobs
        [short] = read("train", [*words, "budget=short"], multirun=False).jobs
    assert (own.values["budget"]["max_steps"], short.values["budget"]["name"]) == (7, "mine")
    with hydra_session("rt-train", None), pytest.raises(ConfigError, match="budget=own is unknown"):
        read("train", [*words, "budget=own"], multirun=False)


SINGLE = ["seed=0", "cell=natural/none_at", "dataset=digits"]  # one job of a preset's sweep


def test_a_config_file_is_read_once_a_session(monkeypatch):
    words = ["pretrain=none", "finetune=at,cr", "dataset=digits,pets", "seed=0,1"]
    read_files = []
    with hydra_session("rt-train", None):
        files = next(s for s in GlobalHydra.instance().config_loader().get_sources() if s.scheme() == "file")
        load = type(files).load_config

        def load_noted(source, config_path):
            read_files.append(config_path)
            return load(source, config_path)

        monkeypatch.setattr(type(files), "load_config", load_noted)
        assert len(read("train", words, multirun=True).jobs) == 8
    assert {"train", "finetune/at", "finetune/cr"} <= set(read_files)
    assert len(read_files) == len(set(read_files))


def test_compositions_of_a_session_see_nothing_of_each_other():
    words = ["pretrain=none", "finetune=at", "dataset=digits"]
    with hydra_session("rt-train", None):
        [fresh] = read("train", words, multirun=False).jobs
    with hydra_session("rt-train", None):
        [preset] = read("train", ["experiment=natural", *SINGLE], multirun=False).jobs
        [after] = read("train", words, multirun=False).jobs
    assert preset.values["certify"]["subset"] != fresh.values["certify"]["subset"]
    assert after == fresh


def test_jobs_that_share_a_composition_see_nothing_of_each_other():
    words = ["pretrain=none", "finetune=at", "dataset=digits", "certify.ra_radius=${autopgd.eps}"]
    swept = ["autopgd={eps:0.1},{num_steps:7}", "certify.sigma=0.5,1.0"]
    with hydra_session("rt-train", None):
        jobs = read("train", [*words, *swept], multirun=True).jobs
        alone = [
            read("train", [*words, f"autopgd={attack}", f"certify.sigma={sigma}"], multirun=False).jobs[0]
            for attack in ("{eps:0.1}", "{num_steps:7}")
            for sigma in (0.5, 1.0)
        ]
    assert [job.values for job in jobs] == [job.values for job in alone]


def test_jobs_of_a_sweep_are_the_product_of_its_values_in_order():
    words = [
        "pretrain=none",
        "finetune=st",
        "dataset=digits,pets",
        "finetune.schedule=step,cosine",
        "seed=range(2)",
    ]
    with hydra_session("rt-train", None):
        jobs = read("train", words, multirun=True).jobs
    told = [
        (job.values["dataset"]["name"], job.values["finetune"]["schedule"]["name"], job.values["seed"])
        for job in jobs
    ]
    wanted = [(d, s, n) for d in ("digits", "pets") for s in ("step", "cosine") for n in (0, 1)]
    assert told == wanted


def test_a_choice_that_is_not_in_the_defaults_is_recognised_by_hydras_message():
    words = ["pretrain=none", "finetune=st", "dataset=digits", "pretrain.schedule=cosine"]
    with (
        hydra_session("rt-train", None),
        pytest.raises(ConfigError, match="schedule is given, but"),
    ):
        read("train", words, multirun=False)


def test_what_reads_config_files_travels_to_a_launchers_job():
    with hydra_session("rt-train", None):
        loader = GlobalHydra.instance().config_loader()
        repository = pickle.loads(pickle.dumps(loader)).repository
        assert repository.load_config("budget/smoke.yaml").config.smoke is True
        assert repository.config_exists("train")
