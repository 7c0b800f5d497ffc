import pytest

from robust_transfer.store.records import Lineage, Status, Summary

LINEAGE = {"pretrain": "cr", "finetune": "at", "seed": 0, "train_sigma": 0.0}


def test_an_older_file_has_defaults_for_what_it_lacks():
    summary = Summary.read({"evaluator": "clean", "dataset": "pets", "marks": ["smoke"], "lineage": LINEAGE})
    assert (summary.split, summary.subset, summary.flags, summary.marks) == ("test", None, (), ("smoke",))
    assert summary.lineage == Lineage(pretrain="cr", finetune="at", seed=0, train_sigma=0.0)
    assert summary.lineage.shots is None


@pytest.mark.parametrize(
    "values", [None, [], "text", {}, {"lineage": None, "marks": None, "wall_seconds": None}]
)
def test_what_is_not_there_is_unknown(values):
    assert Status.read(values) == Status()


def test_fields_of_a_newer_version_are_kept():
    newer = {**LINEAGE, "teacher_key": "0123"}
    assert Lineage.read(newer).values() == newer
    written = Summary.read({"evaluator": "clean", "dataset": "pets", "lineage": newer, "kernels": "triton"})
    assert written.values()["kernels"] == "triton" and written.values()["lineage"] == newer
    assert Summary.read(written.values()) == written
