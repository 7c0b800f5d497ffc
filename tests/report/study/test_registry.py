from importlib.metadata import EntryPoint

import pytest

from robust_transfer.cli.report import main
from robust_transfer.core import extensions
from robust_transfer.core.errors import ConfigError
from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.protocols import Requirements
from robust_transfer.report.study import registry
from robust_transfer.report.study.paper import BY_PRETRAINING
from robust_transfer.report.study.spec import TableSpec
from synthetic_store import add_attack

CELLS = tuple(Cell("pets", pretrain, "at", "autopgd", None) for pretrain in ("none", "at"))
OURS = TableSpec(
    "ours",
    "Table ours: pets alone",
    lambda index: CELLS,
    Requirements(source="imagenet", experiment="ours"),
    BY_PRETRAINING,
    "rt-train pretrain={pretrain} finetune={finetune} dataset={datasets}",
    figure="gains",
)


@pytest.fixture
def plugged(monkeypatch):
    def plug(name):
        entry = EntryPoint("ours", f"{__name__}:{name}", registry.GROUP)
        monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[name])
        monkeypatch.setattr(extensions, "entry_points", lambda group: [entry] if group == entry.group else [])
        registry.tables.cache_clear()

    yield plug
    registry.tables.cache_clear()


def test_a_table_of_another_package_is_one_spec(plugged, tmp_path, capsys):
    plugged("OURS")
    add_attack(tmp_path, "pets", 60, 50)
    add_attack(tmp_path, "pets", 80, 70, pretrain="at", source="imagenet")
    assert main(["table", "ours", "--store", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("## Table ours: pets alone") and "| pets    |    60.0 |    50.0 |  80.0 |" in text
    assert main(["figure", "ours", "--store", str(tmp_path)]) == 0
    assert main(["html", "--store", str(tmp_path)]) == 0
    assert 'id="ours"' in (tmp_path / "report" / "index.html").read_text()
    assert main(["table", "ours", "--source", "published", "--store", str(tmp_path)]) == 2


TWICE = TableSpec("2", "", lambda index: CELLS, OURS.requirements, BY_PRETRAINING, "")


def test_two_tables_of_one_name_are_refused(plugged):
    plugged("TWICE")
    with pytest.raises(ConfigError, match="the name '2' is taken"):
        registry.tables()


def test_commands_share_what_differs_in_the_data_set_alone():
    cells = [Cell(d, p, "at", "autopgd", None) for d in ("pets", "cars") for p in ("none", "at")]
    assert OURS.commands(cells) == [
        "rt-train pretrain=none finetune=at dataset=pets,cars",
        "rt-train pretrain=at finetune=at dataset=pets,cars",
    ]
