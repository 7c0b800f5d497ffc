from dataclasses import replace

import pytest

from robust_transfer.report.index.cells import Cell
from robust_transfer.report.index.collect import collect
from robust_transfer.report.index.protocols import Requirements, choose
from synthetic_store import add_attack, add_certificates

SPEC = Requirements(source="imagenet", experiment="table2")
NONE = Cell("pets", "none", "at", "autopgd", None)
AT = Cell("pets", "at", "at", "autopgd", None)


def chosen(store, cells=(NONE, AT), spec=SPEC):
    return choose(collect(store), cells, spec)


def test_runs_measured_otherwise_are_left_out_with_the_reason(tmp_path):
    add_attack(tmp_path, "pets", 60, 50)
    add_attack(tmp_path, "pets", 80, 70, pretrain="at", source="imagenet")
    weak = add_attack(tmp_path, "pets", 99, 99, settings={"num_steps": 5})
    choice = chosen(tmp_path)
    assert [len(choice.runs[cell]) for cell in (NONE, AT)] == [1, 1]
    assert choice.runs[NONE][0].metrics["sa"] == 0.6
    assert [(run.path, reason) for run, reason in choice.left_out] == [
        (weak, "measured or trained otherwise: num_steps=5 (table: 100)")
    ]


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"settings": {"eps": 0.25}}, "eps=0.25"),
        ({"settings": {"norm": "linf"}}, "attacked at linf"),
        ({"split": "validation"}, "measured on split validation"),
        ({"train_fraction": 0.1}, "another part of the training set (train_fraction=0.1)"),
        ({"pretrain": "at", "source": "mnist5k"}, "pre-trained on mnist5k"),
    ],
)
def test_what_the_table_does_not_hold_is_left_out(tmp_path, options, reason):
    add_attack(tmp_path, "pets", 60, 50, **options)
    choice = chosen(tmp_path)
    assert choice.runs == {}
    assert reason in choice.left_out[0][1]


def test_smoke_runs_are_nowhere(tmp_path):
    add_attack(tmp_path, "pets", 60, 50, marks=["smoke"])
    assert chosen(tmp_path).runs == {} and chosen(tmp_path).left_out == ()


def test_another_training_recipe_is_not_averaged_in(tmp_path):
    for seed in (0, 1):
        add_attack(tmp_path, "pets", 60 + seed, 50, seed=seed, experiment="table2")
    add_attack(tmp_path, "pets", 20, 10, seed=2, recipe={"epochs": 1})
    choice = chosen(tmp_path)
    assert [run.lineage.seed for run in choice.runs[NONE]] == [0, 1]
    assert choice.left_out[0][1] == "measured or trained otherwise: finetune.epochs=1 (table: 5)"


def test_another_pretraining_recipe_is_not_averaged_in(tmp_path):
    for seed in (0, 1):
        add_attack(tmp_path, "pets", 80, 70, pretrain="at", source="imagenet", seed=seed)
    recipe = {"epochs": 1}
    add_attack(tmp_path, "pets", 20, 10, pretrain="at", source="imagenet", seed=2, pretrain_recipe=recipe)
    choice = chosen(tmp_path)
    assert len(choice.runs[AT]) == 2
    assert choice.left_out[0][1] == "pre-trained otherwise: pretrain.epochs=1 (table: 5)"


def test_the_presets_protocol_wins_over_a_larger_one(tmp_path):
    add_attack(tmp_path, "pets", 60, 50, settings={"num_restarts": 5}, experiment="table2")
    for seed in (0, 1, 2):
        add_attack(tmp_path, "pets", 70, 60, seed=seed)
    assert [run.metrics["sa"] for run in chosen(tmp_path).runs[NONE]] == [0.6]


def test_few_shots_are_another_target(tmp_path):
    add_attack(tmp_path, "pets", 60, 50, shots=5)
    five = replace(NONE, shots=5)
    assert (five.target, NONE.target) == ("pets 5-shot", "pets")
    assert (replace(AT, shots=5).reference, replace(AT, shots=5).group) == (five, replace(five, pretrain=""))
    assert list(chosen(tmp_path, [NONE, five]).runs) == [five]
    assert chosen(tmp_path).runs == {} and chosen(tmp_path).left_out == ()


def test_a_table_of_its_own_holds_no_other_experiments_protocol(tmp_path):
    own = replace(SPEC, own=True)
    add_attack(tmp_path, "pets", 60, 50, experiment="quickstart")
    assert chosen(tmp_path, spec=own).runs == {}
    assert chosen(tmp_path, spec=own).left_out[0][1].endswith("as no run of experiment=table2")
    # A stage that another experiment computed first counts where the experiment shares its protocol.
    add_attack(tmp_path, "pets", 80, 70, pretrain="at", source="imagenet", experiment="table2")
    assert set(chosen(tmp_path, spec=own).runs) == {NONE, AT}


def test_exact_certificates_win_over_decisions(tmp_path):
    cell = Cell("pets", "none", "cr", "certify", 0.5)
    add_certificates(tmp_path, "pets", [900] * 20, settings={"mode": "decide"})
    exact = add_certificates(tmp_path, "pets", [900] * 20)
    assert [run.path for run in chosen(tmp_path, [cell]).runs[cell]] == [exact]


def test_data_sets_may_have_protocols_of_their_own(tmp_path):
    add_attack(tmp_path, "pets", 60, 50)
    add_attack(tmp_path, "cars", 60, 50, settings={"num_restarts": 5})
    cars = Cell("cars", "none", "at", "autopgd", None)
    assert set(chosen(tmp_path, [NONE, cars]).runs) == {NONE, cars}
