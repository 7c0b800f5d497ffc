"""Methods of other packages: found by their entry points, parsed and planned without torch."""

import dataclasses
import os
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from robust_transfer.config import plugins
from robust_transfer.config.methods import FINETUNE, PRETRAIN, StandardConfig
from robust_transfer.core import extensions
from robust_transfer.core.errors import ConfigError

GROUP = "robust_transfer.finetune"
HERE = __name__


@dataclasses.dataclass
class GentleConfig(StandardConfig):
    spec = StandardConfig.spec


@pytest.fixture
def offered(monkeypatch):
    """Entry points to be found; afterwards the methods are what they were."""
    found = []
    monkeypatch.setattr(extensions, "entry_points", lambda group: [e for e in found if e.group == group])
    monkeypatch.setattr(plugins, "GROUPS", {name: dict(methods) for name, methods in plugins.GROUPS.items()})
    monkeypatch.setitem(sys.modules, "gentle_package", sys.modules[HERE])
    plugins.load_methods.cache_clear()
    yield found
    plugins.load_methods.cache_clear()


def test_a_config_class_is_added_under_the_name_of_its_entry_point(offered):
    offered.append(EntryPoint("gentle", "gentle_package:GentleConfig", GROUP))
    plugins.load_methods()
    assert plugins.GROUPS[GROUP]["gentle"] is GentleConfig
    assert "gentle" not in plugins.GROUPS["robust_transfer.pretrain"]
    plugins.load_methods()  # a second time changes nothing


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("at", "gentle_package:GentleConfig", "the name 'at' is taken"),
        ("gentle", "gentle_package:GentelConfig", "cannot be imported"),
        ("gentle", "no_such_package:GentleConfig", "cannot be imported .No module named 'no_such_package'"),
        ("gentle", "gentle_package:HERE", "expected a TrainingConfig"),
        ("gentle", "gentle_package", "expected a TrainingConfig"),
    ],
)
def test_an_entry_point_that_cannot_be_a_method_is_refused_by_name(offered, name, value, message):
    offered.append(EntryPoint(name, value, GROUP))
    with pytest.raises(ConfigError, match=message) as caught:
        plugins.load_methods()
    assert f"{GROUP} '{name}'" in caught.value.what


def test_the_groups_are_those_that_are_parsed():
    assert plugins.GROUPS == {"robust_transfer.pretrain": PRETRAIN, "robust_transfer.finetune": FINETUNE}
    assert plugins.GROUPS[GROUP] is FINETUNE


def test_an_installed_package_brings_a_method_that_is_parsed_by_name(tmp_path):
    info = tmp_path / "gentle-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gentle\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\ngentle = gentle_config:GentleConfig\n")
    (tmp_path / "gentle_config.py").write_text(
        textwrap.dedent(
            """
            import dataclasses
            from robust_transfer.config.methods import StandardConfig

            @dataclasses.dataclass
            class GentleConfig(StandardConfig):
                spec = StandardConfig.spec
            """
        )
    )
    code = textwrap.dedent(
        """
        import sys
        from robust_transfer.cli import compose
        from robust_transfer.config.run import train_config
        with compose.hydra_session("rt-train", None):
            words = ["pretrain=none", "finetune=st", "finetune.name=gentle", "dataset=pets"]
            (job,) = compose.read("train", words, multirun=False).jobs
        config = train_config(job.values)
        print(type(config.finetune).__name__, "torch" in sys.modules)
        """
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["GentleConfig", "False"], run.stderr
