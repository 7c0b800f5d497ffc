import torch

from robust_transfer.training.noise import KeyedNoise

CPU = torch.device("cpu")


def noise(indices, *, seed=0, epoch=0, dtype=torch.float32):
    return KeyedNoise(seed, epoch, tuple(indices), (3, 4, 4), CPU, dtype)


def test_an_image_has_the_same_noise_in_any_batch():
    whole = noise([5, 2, 9])("start", 1)
    assert torch.equal(noise([9])("start", 1), whole[2:])
    assert torch.equal(noise([2, 5])("start", 1), whole[[1, 0]])


def test_seed_epoch_image_purpose_and_copy_have_noise_of_their_own():
    draws = [
        noise([5])("start", 0),
        noise([5], seed=1)("start", 0),
        noise([5], epoch=1)("start", 0),
        noise([6])("start", 0),
        noise([5])("consistency", 0),
        noise([5])("start", 1),
    ]
    different = [not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i]]
    assert all(different)


def test_it_is_standard_normal_and_of_the_models_type():
    draws = noise(range(200), dtype=torch.float64)("start", 0)
    assert draws.dtype == torch.float64 and torch.equal(draws, noise(range(200))("start", 0).double())
    assert abs(draws.mean()) < 5 / 9600**0.5 and abs(draws.std() - 1) < 0.05
