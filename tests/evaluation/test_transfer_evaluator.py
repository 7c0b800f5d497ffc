"""Transfer attacks from another model of the store: key, records, verification."""

import csv

import pytest

from evaluation_jobs import digit_pixels
from robust_transfer.attacks import transfer
from robust_transfer.cli.evaluate import main as evaluate
from robust_transfer.cli.report import main as report
from robust_transfer.cli.train import main as train
from robust_transfer.models import load_model
from tiny_runs import tiny


@pytest.mark.slow
def test_images_are_made_on_the_source_and_its_key_is_in_the_evaluations(tmp_path, capsys):
    store = tmp_path / "runs"
    for seed in (0, 1):
        assert (
            train(tiny("none", "st", store, "until=finetune", f"seed={seed}", "finetune.max_steps=30")) == 0
        )
    judged, source = sorted((store / "finetune").iterdir())
    words = ["transfer", f"checkpoint={judged}", "dataset=digits", f"store={store}", "runtime.device=cpu"]
    words += ["transfer.subset=9", "transfer.num_steps=4", "transfer.eps=0.4", "transfer.batch_size=4"]
    assert evaluate(words) == 2
    assert "transfer.source=KEY" in capsys.readouterr().err
    keys = []
    for other in (source, judged):
        assert evaluate([*words, f"transfer.source={other.name.rsplit('-', 1)[1]}"]) == 0
        [new] = [p for p in (store / "eval").iterdir() if p.name[-12:] not in keys]
        keys.append(new.name[-12:])
    [stage] = (store / "eval").glob(f"*-{keys[0]}")
    pixels, labels = digit_pixels()
    with open(stage / "records.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    indices = [int(row["index"]) for row in rows]
    result = transfer(
        load_model(judged / "model.safetensors"),
        pixels[indices],
        labels[indices],
        source=load_model(source / "model.safetensors"),
        eps=0.4,
        num_steps=4,
        index=indices,
        batch_size=4,
    )
    assert [row["robust"] == "1" for row in rows] == result.robust.tolist()
    assert [float(row["distance"]) for row in rows] == result.distance.tolist()
    capsys.readouterr()
    assert report(["verify", keys[0], "--store", str(store), "--redraw", "4"]) == 0
    assert "4 images attacked again" in capsys.readouterr().out
