import json

import pytest

from robust_transfer.core.errors import EvaluationError
from robust_transfer.evaluation.recompute import to_text, verify
from robust_transfer.report.index.collect import collect
from synthetic_store import add_attack, add_certificates


def verified(store):
    [run] = collect(store).runs
    return verify(run.path, run.summary)


@pytest.fixture(params=["attack", "certify"])
def stage(request, tmp_path):
    if request.param == "attack":
        return add_attack(tmp_path, "digits", 8, 5, 10)
    return add_certificates(tmp_path, "digits", [1000, 950, 900, 842, 700, 560, 510, 300, None, None])


def test_an_untouched_evaluation_verifies(stage):
    findings = verified(stage.parents[1])
    assert findings.differences == [] and findings.compared > 60


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_changed_summary_is_found(stage):
    summary = json.loads((stage / "summary.json").read_text())
    summary["metrics"]["ra"] += 0.1
    summary["intervals"]["sa"]["low"] += 1e-6
    (stage / "summary.json").write_text(json.dumps(summary))
    found = " ".join(verified(stage.parents[1]).differences)
    assert "ra is" in found and "interval of sa: low" in found


def test_a_changed_record_is_found(stage):
    lines = (stage / "records.csv").read_text().splitlines()
    cells = lines[2].split(",")
    cells[5] = "1" if cells[5] == "0" else "0" if cells[5] == "1" else repr(float(cells[5]) + 1e-9)
    lines[2] = ",".join(cells)
    (stage / "records.csv").write_text("\n".join(lines) + "\n")
    assert any(line.startswith("image 1: ") for line in verified(stage.parents[1]).differences)


def test_a_record_without_journal_is_found(stage):
    path = stage / "journal.0.csv"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("7,"))
    )
    assert any("images in the journals" in line for line in verified(stage.parents[1]).differences)


def test_changed_counts_are_found(tmp_path):
    stage = add_certificates(tmp_path, "digits", [950, 900])
    change(stage / "journal.0.csv", "0,estimate,400,800,0,400,", "0,estimate,400,800,0,399,")
    assert verified(tmp_path).differences == ["image 0: count_top is 950, recomputed 949"]


def test_a_unit_journalled_twice_counts_once(tmp_path):
    stage = add_certificates(tmp_path, "digits", [950, 900])
    path = stage / "journal.0.csv"
    again = next(line for line in path.read_text().splitlines() if line.startswith("1,estimate,0,"))
    (stage / "journal.1.csv").write_text("\n".join([*path.read_text().splitlines()[:2], again]) + "\n")
    assert verified(tmp_path).differences == []


def test_a_missing_records_file_is_named(stage):
    (stage / "records.csv").unlink()
    with pytest.raises(EvaluationError, match=r"records\.csv is missing"):
        verified(stage.parents[1])


def test_the_text_counts_and_lists(stage):
    findings = verified(stage.parents[1])
    findings.differences = [f"line {i}" for i in range(12)]
    [run] = collect(stage.parents[1]).runs
    text = to_text(run.path, findings)
    assert "12 differ" in text and "  line 9\n  and 2 more" in text
