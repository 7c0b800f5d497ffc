"""The evaluators there are: every spec answers, and another package's evaluator is one like ours."""

import importlib
import sys

import pytest

from robust_transfer.config.evaluators import GROUP, evaluator_spec, evaluators
from robust_transfer.config.schema import identity
from robust_transfer.core import named
from robust_transfer.core.errors import ConfigError
from tiny_runs import composed

CONFIG = '''
from dataclasses import dataclass
from robust_transfer.config.evaluator import EvaluatorConfig, EvaluatorSpec
from robust_transfer.config.schema import option

@dataclass
class FlippedConfig(EvaluatorConfig):
    """Accuracy on mirrored images."""

    spec = EvaluatorSpec(
        name="flipped",
        meaning="accuracy on mirrored images",
        builder="mirrors.evaluator:Flipped",
        columns=("index", "label", "prediction", "correct"),
    )

    times: int = option("how often an image is mirrored", low=0)
'''
EVALUATOR = '''
import torch
from robust_transfer.evaluation.clean import CleanEvaluator

class Flipped(CleanEvaluator):
    """Classify mirrored images."""

    def measure(self, context, images, rows, journal):
        for position, index in enumerate(images.indices.tolist()):
            pixels = images[position : position + 1]
            for _ in range(self.config.times):
                pixels = pixels.flip(-1)
            with torch.inference_mode():
                label = int(context.model(pixels.to(context.device)).argmax())
            journal.append([(index, label)])
            context.progress.step()
'''


@pytest.fixture
def mirrors(tmp_path, monkeypatch):
    """Install a package that brings the evaluator `flipped`."""
    package = tmp_path / "site" / "mirrors"
    (package / "conf" / "evaluator").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "config.py").write_text(CONFIG)
    (package / "evaluator.py").write_text(EVALUATOR)
    values = "subset: 6\nbatch_size: 4\narithmetic: fp32\ntimes: 1\n"
    (package / "conf" / "evaluator" / "flipped.yaml").write_text(values)
    info = package.parent / "mirrors-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mirrors\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nflipped = mirrors.config:FlippedConfig\n")
    monkeypatch.syspath_prepend(str(package.parent))
    importlib.invalidate_caches()
    evaluators.cache_clear()
    yield info
    evaluators.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mirrors"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", evaluators())
def test_every_spec_answers_and_names_what_there_is(name):
    settings = composed("pretrain=none", "finetune=st", "dataset=digits").evaluator_settings[name]
    spec, values = settings.spec, identity(settings)
    assert spec.name == name and spec is evaluator_spec(name)
    for address in (spec.builder, spec.recompute, spec.redraw, spec.check):
        assert address is None or named.problem(address) is None
    assert {"index", "label", *spec.metric_columns} <= set(spec.columns)
    assert set(spec.measured(values)) <= set(spec.metrics)
    assert spec.passes_per_image(values) >= 1
    assert spec.settings_line(values) and spec.short_line(values).startswith(name)


def test_an_evaluator_that_is_not_installed_is_known_by_its_name_alone():
    spec = evaluator_spec("gone")
    assert spec.name == "gone" and spec.metrics == ()


def test_an_evaluator_of_another_package_runs_and_verifies_by_its_name(mirrors, tmp_path, capsys):
    from robust_transfer.cli.evaluate import main as rt_eval
    from robust_transfer.cli.report import main as rt_report
    from robust_transfer.cli.train import main as rt_train
    from tiny_runs import tiny

    store = tmp_path / "runs"
    assert rt_train(tiny("none", "st", store, "until=finetune")) == 0
    [stage] = (store / "finetune").iterdir()
    shared = [f"checkpoint={stage}", "dataset=digits", f"store={store}", "runtime.device=cpu"]
    assert rt_eval(["flipped", *shared, "flipped.subset=5"]) == 0
    assert rt_eval(["flipped", *shared, "flipped.tmes=2"]) == 2
    assert "did you mean 'times'?" in capsys.readouterr().err
    [found] = (store / "eval").iterdir()
    assert found.name.startswith("flipped-digits-") and len((found / "records.csv").read_text().split()) == 6
    assert rt_report(["verify", found.name[-12:], "--store", str(store)]) == 0
    assert rt_report(["runs", "--store", str(store)]) == 0
    assert "flipped" in capsys.readouterr().out
    assert rt_train([*tiny("none", "st", store), "--cfg", "job"]) == 0
    assert "flipped:\n  subset: 6\n" in capsys.readouterr().out


def test_a_package_that_cannot_be_imported_is_named(mirrors):
    (mirrors.parent / "mirrors" / "config.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ConfigError, match=r"mirrors brings .* 'flipped', which cannot be imported"):
        evaluators()


def test_a_name_that_is_taken_is_refused(mirrors):
    path = mirrors.parent / "mirrors" / "config.py"
    path.write_text(path.read_text().replace('name="flipped"', 'name="clean"'))
    with pytest.raises(ConfigError, match="the name 'clean' is taken"):
        evaluators()
