"""What users call a model."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from robust_transfer.core.errors import EvaluationError
from robust_transfer.models.callables import Wrapped, logits_of

IMAGES = torch.rand(2, 3, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_are_cast_to_the_weights_type(dtype):
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).to(dtype)
    assert torch.equal(Wrapped(network)(IMAGES), network(IMAGES.to(dtype)))
    assert Wrapped(network)(IMAGES).dtype == dtype


def test_functions_and_outputs_with_logits():
    logits = torch.rand(2, 3)
    for model in (lambda images: logits, lambda images: SimpleNamespace(logits=logits, hidden=None)):
        assert Wrapped(model)(IMAGES) is logits


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
        Wrapped(lambda images: output)(IMAGES)
    assert type(output).__name__ in caught.value.what and hint in " ".join(caught.value.hints)


def test_other_outputs_and_models_are_refused():
    with pytest.raises(EvaluationError, match="returns a NoneType"):
        Wrapped(lambda images: None)(IMAGES)
    with pytest.raises(EvaluationError, match=r"model: .* \(found str\)"):
        Wrapped("resnet50")
    with pytest.raises(EvaluationError, match=r"model: .* \(found the class Linear\)"):
        Wrapped(nn.Linear)


def test_images_that_the_model_cannot_take_are_one_line():
    with pytest.raises(EvaluationError, match=r"fails on images \(2, 3, 4, 4\) of torch.float32 \(mat1 and"):
        Wrapped(nn.Sequential(nn.Flatten(), nn.Linear(10, 3)))(IMAGES)


def test_a_module_can_be_put_in_eval_mode_through_its_wrapper():
    network = nn.Dropout(0.5)
    assert list(Wrapped(network).modules())[1] is network
