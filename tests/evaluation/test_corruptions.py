"""Common corruptions: keyed draws, records, and what the command prints."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from evaluation_jobs import CONFIG
from robust_transfer.cli.evaluate import main as evaluate
from robust_transfer.cli.report import main as report
from robust_transfer.cli.train import main as train
from robust_transfer.config.evaluators import CORRUPTIONS
from robust_transfer.core.errors import EvaluationError
from robust_transfer.core.progress import ProgressBar
from robust_transfer.evaluation.corruptions import CorruptionsEvaluator, corrupted, corruptions_row
from robust_transfer.evaluation.images import ImageBatch
from robust_transfer.evaluation.protocol import EvalContext
from robust_transfer.evaluation.recompute import Findings
from robust_transfer.evaluation.warnings import Warnings
from robust_transfer.store.journal import Journal, read_journal
from tiny_runs import tiny

pytest.importorskip("imagecorruptions")
SLOW = "glass_blur"  # compiled when it is first called
KINDS = [kind for kind in CORRUPTIONS if kind != SLOW]
DRAWN = ("gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "snow", "frost", "elastic_transform")


@pytest.fixture(scope="module")
def photograph():
    """Waves of every colour, 40 x 36 pixels."""
    rows, columns = np.mgrid[0:36, 0:40]
    waves = [np.sin(rows / (2 + c)) * np.cos(columns / (3 + c)) for c in range(3)]
    return torch.from_numpy((127 + 120 * np.stack(waves)).astype(np.uint8))


@pytest.mark.parametrize("kind", [*KINDS, pytest.param(SLOW, marks=pytest.mark.slow)])
def test_a_corruption_is_the_images_own(photograph, kind):
    """Same seed and name, same copy; another name, another draw; NumPy's generator is given back."""
    before = np.random.get_state()[1].copy()
    one, same, other = (corrupted(photograph, kind, 3, index=index) for index in (5, 5, 6))
    assert (np.random.get_state()[1] == before).all()
    assert one.shape == photograph.shape and one.dtype == torch.uint8
    assert torch.equal(one, same) and not torch.equal(one, photograph)
    assert torch.equal(one, other) != (kind in (*DRAWN, "fog", SLOW))


@pytest.mark.parametrize("kind", ["gaussian_noise", "defocus_blur", "contrast", "pixelate"])
def test_stronger_corruptions_change_more(photograph, kind):
    change = [
        float((corrupted(photograph, kind, severity).float() - photograph.float()).abs().mean())
        for severity in (1, 3, 5)
    ]
    assert change == sorted(change) and change[0] < change[-1]


class Brightest(nn.Module):
    """Says which colour is brightest in the middle of the image."""

    def forward(self, x):
        return x[:, :, 12:24, 12:24].mean((2, 3)) * 10


def measured(directory, photograph, **changes):
    settings = dataclasses.replace(
        CONFIG.evaluator_settings["corruptions"],
        **{"kinds": ["fog", "pixelate"], "severities": [1, 5], "batch_size": 4, **changes},
    )
    evaluator = CorruptionsEvaluator(settings)
    pixels = torch.stack([photograph.roll(shift, 0) for shift in (0, 1, 2, 0, 1)])
    labels, indices = torch.tensor([0, 1, 2, 0, 0]), torch.tensor([3, 4, 7, 8, 9])
    progress = ProgressBar("corruptions", total=5, shown=False)
    context = EvalContext(Brightest(), torch.device("cpu"), False, progress, Warnings(directory, 0))
    path = directory / "journal.0.csv"
    with Journal(path, header={}, columns=evaluator.journal_columns) as journal:
        evaluator.measure(context, ImageBatch(pixels, labels, indices, ()), [], journal)
    rows = read_journal(path)[1]
    return settings, rows, evaluator.records(rows, dict(zip(indices.tolist(), labels.tolist(), strict=True)))


def test_records_are_what_the_model_says_of_the_copies(tmp_path, photograph):
    _, _, table = measured(tmp_path, photograph)
    assert [row["index"] for row in table] == [3, 4, 7, 8, 9]
    row = table[2]
    copies = [
        corrupted(photograph.roll(2, 0), kind, severity, index=7)
        for kind in ("fog", "pixelate")
        for severity in (1, 5)
    ]
    expected = Brightest()(torch.stack(copies).float() / 255).argmax(1).tolist()
    assert row["predictions"] == " ".join(map(str, expected))
    assert row["robust"] == sum(p == row["label"] for p in expected) / 4


def test_neither_batches_nor_order_change_a_row(tmp_path, photograph):
    (tmp_path / "one").mkdir()
    (tmp_path / "four").mkdir()
    one = measured(tmp_path / "one", photograph, batch_size=1)[1]
    assert one == measured(tmp_path / "four", photograph)[1]


def test_a_changed_number_is_found(tmp_path, photograph):
    config, rows, table = measured(tmp_path, photograph)
    settings = dataclasses.asdict(config)
    entries = {row["index"]: [row] for row in rows}
    texts = [{name: str(int(v) if v in (True, False) else v) for name, v in row.items()} for row in table]
    for change in ({}, {"robust": "0.9"}, {"correct": "7"}, {"predictions": "0 0 0"}, {"prediction": "9"}):
        findings = Findings()
        row = {**texts[0], **change}
        corruptions_row(settings, row, entries[row["index"]], findings)
        assert bool(findings.differences) == bool(change)


def test_images_too_small_and_kinds_unknown_are_refused(photograph):
    with pytest.raises(EvaluationError, match=r"at least 32 x 32 pixels \(found 8 x 8\)"):
        corrupted(photograph[:, :8, :8], "fog", 1)
    with pytest.raises(EvaluationError, match="did you mean 'fog'"):
        corrupted(photograph, "fogg", 1)


@pytest.mark.parametrize("severity", [1, 5])
def test_impulse_noise_sets_its_share_of_values(photograph, severity):
    share = {1: 0.03, 5: 0.27}[severity]
    grey = torch.full((3, 100, 100), 100, dtype=torch.uint8)
    noisy = corrupted(grey, "impulse_noise", severity)
    for value in (0, 255):
        assert float((noisy == value).float().mean()) == pytest.approx(share / 2, abs=5e-3)
    assert set(noisy.unique().tolist()) == {0, 100, 255}


def test_the_command_prints_a_row_and_verify_agrees(tmp_path, capsys):
    store = tmp_path / "runs"
    assert train(tiny("none", "at", store, "until=finetune", "model.image_size=32")) == 0
    [stage] = (store / "finetune").iterdir()
    words = ["corruptions", f"checkpoint={stage}", "dataset=digits", f"store={store}", "runtime.device=cpu"]
    words += ["corruptions.subset=3", "corruptions.kinds=[fog,impulse_noise]", "corruptions.severities=[2]"]
    assert evaluate(words) == 0
    assert "  corruptions  " in capsys.readouterr().out
    [evaluation] = (store / "eval").iterdir()
    assert report(["verify", evaluation.name.rsplit("-", 1)[1], "--store", str(store)]) == 0
    assert " 0 differ" in capsys.readouterr().out
    assert report(["show", evaluation.name.rsplit("-", 1)[1], "--store", str(store)]) == 0
