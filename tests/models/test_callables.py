"""What users call a model."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.callables import as_module, logits_of

IMAGES = torch.rand(2, 3, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_are_cast_to_the_weights_type(dtype):
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).to(dtype)
    assert torch.equal(as_module(network)(IMAGES), network(IMAGES.to(dtype)))
    assert as_module(network)(IMAGES).dtype == dtype


def test_functions_and_outputs_with_logits():
    logits = torch.rand(2, 3)
    for model in (lambda images: logits, lambda images: SimpleNamespace(logits=logits, hidden=None)):
        assert as_module(model)(IMAGES) is logits


class MappedOutput(dict):
    """As transformers has it: a dictionary whose entries are attributes too."""

    @property
    def logits(self):
        return self["logits"]


def test_a_mapping_with_the_attribute_is_taken():
    assert logits_of(MappedOutput(logits=IMAGES)) is IMAGES


@pytest.mark.parametrize(
    ("output", "hint"),
    [((IMAGES, None), "model(images)[0]"), ({"logits": IMAGES}, "model(images)['logits']")],
)
def test_what_is_not_obvious_is_refused_with_the_wrapper_to_write(output, hint):
    with pytest.raises(EvaluationError) as caught:
        as_module(lambda images: output)(IMAGES)
    assert type(output).__name__ in caught.value.what and hint in " ".join(caught.value.hints)


def test_other_outputs_and_models_are_refused():
    with pytest.raises(EvaluationError, match="returns a NoneType"):
        as_module(lambda images: None)(IMAGES)
    with pytest.raises(EvaluationError, match="the model is of type str"):
        as_module("resnet50")


def test_a_module_can_be_put_in_eval_mode_through_its_wrapper():
    network = nn.Dropout(0.5)
    assert list(as_module(network).modules())[1] is network
