"""RoLI and LwF as their papers have them: the last layer first, then the whole network from there."""

import pytest
import torch

from robust_transfer.models.checkpoint import load_model
from robust_transfer.pipeline.inputs import training_stages
from robust_transfer.pipeline.run import execute
from tiny_runs import composed, tiny


def run(words, store):
    config = composed(*words, "until=finetune")
    stages = training_stages(config)
    found = execute(stages, store, data=config.data, runtime=config.runtime, say=lambda line: None)
    return [load_model(directory.path / "model.safetensors").state_dict() for directory in found], found[
        -1
    ].path


@pytest.mark.parametrize(("first", "second"), [("at_linear", "at"), ("st_linear", "lwf")])
def test_the_second_stage_begins_where_the_first_one_ended(first, second, tmp_path):
    (pretrained, head_trained), directory = run(tiny("at", first, tmp_path), tmp_path)
    for name, value in pretrained.items():
        if not name.startswith("backbone.fc."):
            assert torch.equal(head_trained[name], value), name  # BatchNorm's statistics too
    start = ("pretrain.path=" + str(directory / "model.safetensors"), "finetune.keep_head=true")
    words = [
        word for word in tiny("checkpoint", second, tmp_path, *start) if not word.startswith("pretrain.m")
    ]
    words = [word for word in words if not word.startswith("pretrain.batch")]
    (parent, _), _ = run(words, tmp_path)
    assert parent.keys() == head_trained.keys()
    (_, still), _ = run([*words, "finetune.lr=1e-12"], tmp_path)
    for name, value in head_trained.items():
        assert torch.equal(parent[name], value), name
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(still[name], value, rtol=1e-6, atol=1e-7, msg=name)
