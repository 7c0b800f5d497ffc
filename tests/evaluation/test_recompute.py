"""An honest evaluation verifies; one that was changed anywhere does not, however well it was covered up."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import forger
from robust_transfer.cli.report import main as report
from robust_transfer.cli.train import main as train
from robust_transfer.config.data import DataConfig
from robust_transfer.core import named
from robust_transfer.core.binomial import lower_bound
from robust_transfer.core.errors import EvaluationError, UserError
from robust_transfer.evaluation.reattack import choose, reattack
from robust_transfer.evaluation.recompute import Findings, labels_on_disk, to_text, verify
from robust_transfer.evaluation.redraw import redraw
from robust_transfer.report.index.collect import collect
from robust_transfer.smoothing.bounds import certified_radius
from robust_transfer.store.directories import StageDirectory
from tiny_runs import tiny

DATA = DataConfig(root="data", verify=False, on_error="stop")
TRAINING = ("finetune.max_steps=40", "finetune.batch_size=20", "dataset.shots=20")
CERTIFY = ("certify.n=2000", "certify/mode=adaptive", "certify.subset=12", "certify.sigma=0.1")
ATTACK = ("autopgd.subset=12", "autopgd.eps=0.3", "autopgd.num_steps=5")
RUN = (*TRAINING, *CERTIFY, "certify.ra_radius=0.1", *ATTACK)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    store = tmp_path_factory.mktemp("finished")
    assert train(tiny("none", "st", store, *RUN)) == 0
    return store


@pytest.fixture
def stages(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "store")
    return {stage.name.split("-")[0]: stage for stage in (tmp_path / "store" / "eval").iterdir()}


@pytest.fixture(scope="module")
def labels(finished):
    [stage] = (finished / "eval").glob("certify-*")
    return labels_on_disk(stage, DATA)


@pytest.mark.parametrize("name", ["certify", "autopgd"])
def test_an_honest_evaluation_verifies(stages, labels, name):
    for known_labels in (labels, None):
        findings = verify(stages[name], labels=known_labels)
        assert findings.differences == [] and findings.compared > 100
    again = {"certify": redraw, "autopgd": reattack}[name](stages[name], blocks=100, seed=0, data=DATA)
    assert again.findings.differences == [] and again.blocks >= 6 and again.samples > 0


@pytest.mark.parametrize("name", ["certify", "autopgd"])
def test_a_picture_shows_the_images_that_were_measured(stages, labels, name, tmp_path):
    stage = stages[name]
    (run,) = (run for run in collect(stage.parents[1]).runs if run.path == stage)
    found = named.load(run.spec.examples)(stage, count=6, data=DATA)
    records = {int(row["index"]): row for row in forger.record_rows(stage)}
    assert len(found.indices) == 6 and set(found.indices) <= set(records)
    change = (found.changed - found.images).flatten(1)
    if name == "autopgd":
        distances = [float(records[index]["distance"]) for index in found.indices]
        assert change.double().norm(dim=1).tolist() == pytest.approx(distances, abs=1e-6)
        assert {records[index]["robust"] for index in found.indices} == {"0", "1"}
        said = [f"says {records[index]['adversarial_prediction']}" for index in found.indices]
        assert found.said_after == said
    else:
        assert change.std().item() == pytest.approx(0.1, rel=0.1) and abs(change.mean()) < 0.01
        assert found.said_before == [f"is {labels[index]}" for index in found.indices]
        radii = [float(records[index]["radius"]) for index in found.indices]
        assert radii == sorted(radii) and found.said_after[-1].endswith(f"radius {radii[-1]:.2f}")
    out = tmp_path / "out"
    assert (
        report(["show", run.key, "--picture", "2", "--store", str(stage.parents[1]), "--out", str(out)]) == 0
    )
    assert {path.suffix for path in out.iterdir()} == {".png", ".pdf", ".md"}
    assert report(["show", run.key, "--picture", "0", "--store", str(stage.parents[1])]) == 2


# ---------------------------------------------------------------- certificates


def least_certain(stage):
    """Return the image with the smallest radius of those whose n samples were all drawn."""
    rows = [row for row in forger.record_rows(stage) if row["samples_drawn"] == "2000"]
    return min(rows, key=lambda row: float(row["radius"]))["index"]


def test_votes_forged_along_with_their_near_ties_are_drawn_again(stages, labels):
    """Everything else is consistent, so that only drawing again can tell."""
    stage = stages["certify"]
    rows = forger.journal_rows(stage)
    target = least_certain(stage)
    for row in rows:
        if row["index"] == target and row["purpose"] == "estimate":
            samples = str(int(row["stop"]) - int(row["start"]))
            row |= {
                "count": samples,
                "near_ties": samples,
                "ties": "0",
                "counts": f"10;{row['guess']}:{samples}",
            }
    forger.write_journal(stage, rows)
    forger.rebuild(stage, labels)
    assert verify(stage, labels=labels).differences == []
    differences = redraw(stage, blocks=100, seed=0, data=DATA).findings.differences
    assert any(line.startswith(f"image {target}: estimate") and "votes" in line for line in differences)
    assert any("near ties" in line for line in differences)


def test_the_whole_alpha_at_one_of_several_analyses_is_found(stages, labels):
    stage = stages["certify"]
    rows = forger.record_rows(stage)
    for row in rows:
        if int(row["num_samples"]):
            bound = lower_bound(int(row["count_top"]), int(row["num_samples"]), 0.001)
            row |= {
                "alpha_spent": "0.001",
                "p_lower": repr(bound),
                "radius": repr(certified_radius(bound, 0.3)),
            }
            row["prediction"] = row["guess"] if bound > 0.5 else "-1"
    forger.write_records(stage, rows)
    assert any("alpha_spent" in line for line in verify(stage, labels=labels).differences)


def test_near_ties_of_a_journal_are_drawn_again(stages, labels):
    stage = stages["certify"]
    rows = forger.journal_rows(stage)
    rows[0]["near_ties"] = "90"
    forger.write_journal(stage, rows)
    forger.rebuild(stage, labels)
    assert any(
        "near ties" in line for line in redraw(stage, blocks=100, seed=0, data=DATA).findings.differences
    )


def test_indices_that_are_shifted_are_named_and_no_traceback(stages, labels):
    stage = stages["certify"]
    rows = [{**row, "index": str(int(row["index"]) + 1)} for row in forger.journal_rows(stage)]
    forger.write_journal(stage, rows)
    differences = verify(stage, labels=labels).differences
    assert differences and "the journals have images" in differences[-1]
    with pytest.raises(EvaluationError, match="names images"):
        redraw(stage, blocks=100, seed=0, data=DATA)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [*rows, {**rows[-1], "start": "10000", "stop": "20000"}],
        lambda rows: [row for row in rows if row["purpose"] == "select"],
        lambda rows: [row for row in rows if row["purpose"] == "estimate"],
        lambda rows: [{**row, "purpose": "other"} for row in rows],
        lambda rows: [
            {**row, "counts": row["counts"].replace("10;", "11;")} if not i else row
            for i, row in enumerate(rows)
        ],
    ],
)
def test_units_that_an_honest_run_does_not_have_are_found(stages, labels, change):
    forger.write_journal(stages["certify"], change(forger.journal_rows(stages["certify"])))
    assert any(
        "the journals give no records" in line
        for line in verify(stages["certify"], labels=labels).differences
    )


def test_a_unit_journalled_twice_counts_once(stages, labels):
    rows = forger.journal_rows(stages["certify"])
    forger.write_journal(stages["certify"], [*rows, rows[1]])
    assert verify(stages["certify"], labels=labels).differences == []


# ---------------------------------------------------------------- attacks


def test_robust_flags_that_were_set_are_attacked_again(stages, labels):
    stage = stages["autopgd"]
    rows = forger.journal_rows(stage)
    broken = [
        row["index"]
        for row in rows
        if row["robust"] == "0" and int(row["clean_prediction"]) == labels[int(row["index"])]
    ]
    assert broken
    for row in rows:
        if row["index"] in broken:
            row |= {"robust": "1", "adversarial_prediction": row["clean_prediction"]}
    forger.write_journal(stage, rows)
    forger.rebuild(stage, labels)
    assert verify(stage, labels=labels).differences == []
    differences = reattack(stage, blocks=100, seed=0, data=DATA).findings.differences
    assert {line.split(":")[0] for line in differences} == {f"image {index}" for index in broken}


@pytest.mark.parametrize(("blocks", "least"), [(1, 1), (3, 2), (8, 4), (30, 5)])
def test_images_that_are_attacked_again_are_not_all_mistakes(blocks, least):
    stated = {index: {"correct": index % 4 == 0} for index in range(20)}
    drawn = [choose(stated, blocks=blocks, seed=seed) for seed in range(100)]
    for indices in drawn:
        assert indices == sorted(set(indices)) and len(indices) == min(blocks, 20)
        assert sum(stated[index]["correct"] for index in indices) >= least
    assert set().union(*drawn) >= ({0, 4, 8, 12, 16} if blocks == 1 else set(range(20)))
    assert len(choose({index: {"correct": False} for index in stated}, blocks=blocks, seed=0)) == min(
        blocks, 20
    )


def test_a_distance_beyond_eps_is_found(stages, labels):
    rows = forger.journal_rows(stages["autopgd"])
    rows[0]["distance"] = "0.31"
    forger.write_journal(stages["autopgd"], rows)
    forger.rebuild(stages["autopgd"], labels)
    assert any("within eps" in line for line in verify(stages["autopgd"], labels=labels).differences)


# ---------------------------------------------------------------- both


BOTH = pytest.mark.parametrize("name", ["certify", "autopgd"])


@BOTH
@pytest.mark.parametrize("known", [True, False])
def test_an_image_that_was_left_out_is_missed(stages, labels, name, known):
    stage = stages[name]
    gone = forger.record_rows(stage)[0]["index"]
    forger.write_journal(stage, [row for row in forger.journal_rows(stage) if row["index"] != gone])
    forger.rebuild(stage, labels)
    differences = verify(stage, labels=labels if known else None).differences
    assert any(f"1 missing [{gone}]" in line for line in differences)


@BOTH
def test_another_choice_of_images_is_found(stages, labels, name):
    """The same rows under another image's index, whose label fits."""
    stage = stages[name]
    first = forger.record_rows(stage)[0]
    other = next(
        i
        for i, label in enumerate(labels)
        if str(label) == first["label"] and i not in (0, int(first["index"]))
    )
    rows = forger.journal_rows(stage)
    for row in rows:
        if row["index"] == first["index"]:
            row["index"] = str(other)
    forger.write_journal(stage, rows)
    forger.rebuild(stage, labels)
    for known_labels in (labels, None):
        assert any(f"1 extra [{other}]" in line for line in verify(stage, labels=known_labels).differences)


@BOTH
def test_swapped_labels_are_found_where_the_test_set_is_at_hand(stages, labels, name):
    stage = stages[name]
    rows = forger.record_rows(stage)
    rows[0]["label"] = str((int(rows[0]["label"]) + 1) % 10)
    forger.write_records(stage, rows)
    assert any("label" in line for line in verify(stage, labels=labels).differences)


@BOTH
def test_a_doubled_record_is_found(stages, labels, name):
    rows = forger.record_rows(stages[name])
    forger.write_records(stages[name], [*rows, rows[-1]])
    assert any("images of records.csv" in line for line in verify(stages[name], labels=labels).differences)


@BOTH
@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"sa": 1.0}},
        {"subset": 7},
        {"settings": {"eps": 0.1}},
        {"flags": ["made up"]},
        {"marks": ["made up"]},
        {"lineage": {"pretrain": "cr"}},
        {"parent": "0" * 12},
        {"weights": "0" * 64},
        {"device": "NVIDIA H9000"},
        {"dataset": "pets"},
    ],
)
def test_an_edited_summary_is_found(stages, labels, name, change):
    [(field, value)] = change.items()
    forger.edit_summary(stages[name], **{field: value})
    assert verify(stages[name], labels=labels).differences


@BOTH
def test_settings_that_were_edited_everywhere_have_another_key(stages, labels, name):
    stage = stages[name]
    path = stage / "config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    assert any("key of config.yaml" in line for line in verify(stage, labels=labels).differences)


@BOTH
def test_any_number_that_is_changed_is_found(finished, labels, name):
    """By more than rounding, in any file, with the hashes set anew."""
    [stage] = (finished / "eval").glob(f"{name}-*")
    kept = {path.name: path.read_bytes() for path in stage.iterdir() if path.is_file()}

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(st.sampled_from(forger.WITNESSES), st.integers(0, 10**6), st.integers(1, 9), st.booleans())
    def forged(file, which, by, down):
        text = kept[file].decode()
        spans = forger.numbers(text, last_column=name == "certify" or file != "journal.0.csv")
        first, last = spans[which % len(spans)]
        old = float(text[first:last])
        new = old + (-by if down else by) * (1 if old == int(old) else 0.001)
        written = str(int(new)) if "." not in text[first:last] and "e" not in text[first:last] else repr(new)
        (stage / file).write_text(text[:first] + written + text[last:])
        forger.seal(stage)
        try:
            differences = verify(stage, labels=labels).differences
            assert differences, f"{file}: {text[first:last]} -> {written} at {first}"
        except UserError:
            pass  # refused
        finally:
            for path, content in kept.items():
                (stage / path).write_bytes(content)

    forged()


# ---------------------------------------------------------------- hashes of the results


@BOTH
@pytest.mark.parametrize("file", ["records.csv", "summary.json"])
def test_a_file_that_was_changed_is_refused_and_built_again(finished, stages, name, file, caplog):
    stage = stages[name]
    store, kept = stage.parents[1], (stage / file).read_bytes()
    (stage / file).write_bytes(kept[: len(kept) // 2])
    assert StageDirectory(stage).state() == "resumable"
    assert stage not in [run.path for run in collect(store).runs]
    if file == "records.csv":
        assert "records.csv changed after it was finished" in caplog.text
        with pytest.raises(EvaluationError, match="is not whole"):
            verify(stage)
        (stage / file).write_bytes(kept.rstrip())
        assert f"{file} was changed after it was finished" in verify(stage).differences
    assert train(tiny("none", "st", store, *RUN)) == 0
    if file == "records.csv":
        assert (stage / file).read_bytes() == kept
    assert StageDirectory(stage).state() == "done" and verify(stage).differences == []


def test_stages_without_hashes_stand_as_they_are(stages):
    stage = stages["certify"]
    status = json.loads((stage / "status.json").read_text())
    del status["files"]
    (stage / "status.json").write_text(json.dumps(status))
    assert StageDirectory(stage).state() == "done" and verify(stage).differences == []


def test_a_missing_records_file_is_named(stages):
    (stages["certify"] / "records.csv").unlink()
    with pytest.raises(EvaluationError, match=r"records\.csv is missing"):
        verify(stages["certify"])


def test_records_without_their_journals_are_not_verified(stages):
    for path in stages["autopgd"].glob("journal.*.csv"):
        path.unlink()
    with pytest.raises(EvaluationError, match="holds no journal"):
        verify(stages["autopgd"])


def test_the_command_attacks_three_images_again(stages, capsys):
    key, store = stages["autopgd"].name.rsplit("-", 1)[1], str(stages["autopgd"].parents[1])
    assert report(["verify", key, "--store", store]) == 0
    out = capsys.readouterr().out
    assert "3 images attacked again (" in out and "at hand" not in out
    rows = forger.record_rows(stages["autopgd"])
    rows[0]["robust"] = str(1 - int(rows[0]["robust"]))
    forger.write_records(stages["autopgd"], rows)
    assert report(["verify", key, "--store", store]) == 2
    assert f"image 0: robust is '{rows[0]['robust']}'" in capsys.readouterr().out


def test_the_text_counts_and_lists():
    findings = Findings(20, [f"line {i}" for i in range(12)])
    text = to_text("certify-digits-0", findings)
    assert "12 differ" in text and "  line 9\n  and 2 more" in text
