"""Stores with known answers: what the evaluation would have written, without any model."""

# ruff: noqa: E501

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import yaml
from scipy import stats

from robust_transfer.report.study.natural import EPS, SHOTS, SIGMA

ATTACK = {
    "norm": "l2", "eps": 0.5, "num_steps": 100, "num_restarts": 1, "loss": "ce", "num_eot": 1, "guards": "fast",
    "seed": 0, "subset": None, "arithmetic": "fp32",
}  # fmt: skip
CERTIFY = {
    "sigma": 0.5, "n0": 100, "n": 1000, "alpha": 0.001, "mode": "exact", "radii": [0.5], "tolerance": 0.02,
    "ra_radius": 0.5,
    "seed": 0, "subset": 100, "arithmetic": "fp32", "allow_sigma_mismatch": False, "allow_nonfinite": False,
}  # fmt: skip
COLUMNS = {
    "autopgd": "index,label,clean_prediction,adversarial_prediction,correct,robust,distance,loss,gradient_steps",
    "clean": "index,label,prediction,correct",
    "certify": "index,label,guess,prediction,correct,radius,count_top,num_samples,samples_drawn,p_lower,"
    "alpha_spent,stopped,nonfinite,near_ties",
}


def key12(*parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def add_training(
    store: Path, kind: str, label: str, *, wall: float, recipe=None, seed=0, world_size=1, **extra
) -> str:
    recipe = {"epochs": 5, **(recipe or {})}
    key = key12(kind, label, recipe, seed, extra)
    path = store / kind / f"{label}-{key}"
    status = {"state": "done", "wall_seconds": wall, "device": "cpu", "steps": 100, "world_size": world_size}
    write_json(path / "status.json", status)
    identity = {"method": {**recipe, "seed": seed}, "augment": "crop", "recipe": 1}
    (path / "config.yaml").write_text(yaml.safe_dump({"identity": identity}))
    (path / "model.safetensors").write_bytes(b"")
    return key


def attack_rows(correct, robust, labels):
    for i, (c, r, y) in enumerate(zip(correct, robust, labels, strict=True)):
        wrong = (y + 1) % 10
        clean = y if c else wrong
        adversarial = y if r else wrong
        yield [i, y, clean, adversarial, int(c), int(r), 0.5 if c else 0.0, 1.25, 100 if c else 0]


def certify_rows(counts, labels, settings):
    """counts: votes for the true class among n, or None where the n0 guess is another class."""
    for i, (count, y) in enumerate(zip(counts, labels, strict=True)):
        if count is None:
            yield [i, y, (y + 1) % 10, -1, 0, 0.0, 0, 0, 0, 0.0, 0.001, "label", 0, 0]
            continue
        n, alpha, sigma = settings["n"], settings["alpha"], settings["sigma"]
        p = float(stats.beta.ppf(alpha, count, n - count + 1)) if count else 0.0
        sure = p > 0.5
        radius = sigma * float(stats.norm.ppf(p)) if sure else 0.0
        yield [i, y, y, y if sure else -1, int(sure), radius, count, n, n, p, alpha, "full", 0, 0]


def attack_journal(rows, settings) -> str:
    lines = [[r[0], r[2], r[3], r[5], r[6], r[7], r[8], 0] for r in rows]
    header = "index,clean_prediction,adversarial_prediction,robust,distance,loss,gradient_steps,near_tie"
    return journal_text(header, reversed(lines))


def certify_journal(rows, settings) -> str:
    lines = []
    for r in rows:
        index, guess, count, samples, nonfinite, near_ties = r[0], r[2], r[6], r[7], r[12], r[13]
        lines.append([index, "select", 0, settings["n0"], guess, settings["n0"], 0, near_ties, nonfinite])
        for start in range(0, samples, 400):  # several units, the first ones full of votes
            stop = min(start + 400, samples)
            votes = min(max(count - start, 0), stop - start)
            lines.append([index, "estimate", start, stop, guess, votes, 0, 0, 0])
    return journal_text("index,purpose,start,stop,guess,count,ties,near_ties,nonfinite", lines)


def journal_text(header: str, lines) -> str:
    body = "".join(
        ",".join(repr(c) if isinstance(c, float) else str(c) for c in line) + "\n" for line in lines
    )
    return '# {"device": "cpu"}\n' + header + "\n" + body


def clean_journal(rows, settings) -> str:
    return journal_text(COLUMNS["clean"], rows)


JOURNALS = {"autopgd": attack_journal, "certify": certify_journal, "clean": clean_journal}


def add_evaluation(
    store: Path, evaluator: str, dataset: str, rows, *, pretrain="none", finetune="at", seed=0, settings=None,
    marks=(), experiment=None, source="mnist5k", pretrain_seed=0, recipe=None, pretrain_recipe=None, split="test",
    shots=None, train_fraction=None, train_sigma=0.0, split_seed=None, finetune_wall=60.0, pretrain_wall=600.0, state="done", tag="",
    lineage=None,
) -> Path:  # fmt: skip
    """Write one finished evaluation with its training stages; rows are those of records.csv."""
    from robust_transfer.core.statistics import mean_interval, mean_per_class, proportion_interval

    base = {"certify": CERTIFY, "autopgd": ATTACK, "clean": {"subset": None}}[evaluator]
    settings = {**base, **(settings or {})}
    pretrain_key = None
    if pretrain != "none":
        label = f"{pretrain}-{source}-resnet18_small"
        pretrain_key = add_training(
            store, "pretrain", label, wall=pretrain_wall, recipe=pretrain_recipe, seed=pretrain_seed
        )
    few = {"shots": shots, "train_fraction": train_fraction}
    finetune_key = add_training(
        store, "finetune", f"{finetune}-{dataset}-{pretrain}-resnet18_small", wall=finetune_wall, recipe=recipe,
        seed=seed, parent=pretrain_key, world_size=2, **few,
    )  # fmt: skip
    rows = [list(row) for row in rows]
    key = key12(evaluator, dataset, settings, finetune_key, list(marks), split, tag)
    path = store / "eval" / f"{evaluator}-{dataset}-{key}"
    path.mkdir(parents=True, exist_ok=True)
    body = "".join(",".join(repr(c) if isinstance(c, float) else str(c) for c in row) + "\n" for row in rows)
    columns = COLUMNS[evaluator]
    (path / "records.csv").write_text(columns + "\n" + body)
    (path / "journal.0.csv").write_text(JOURNALS[evaluator](rows, settings))
    names = columns.split(",")
    table = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    correct = np.array(table["correct"], dtype=float)
    labels = table["label"]
    if evaluator == "certify":
        radius = np.array(table["radius"])
        robust = correct * (radius >= settings["ra_radius"])
        acr = float((correct * radius).mean()) if settings["mode"] != "decide" else None
    else:
        robust, acr = np.array(table.get("robust", table["correct"]), dtype=float), None
    intervals = {}
    measured = {"sa": correct} if evaluator == "clean" else {"sa": correct, "ra": robust}
    for metric, values in measured.items():
        intervals[metric] = dict(
            zip(("low", "high", "method"), proportion_interval(int(values.sum()), len(rows)), strict=True)
        )
    if acr is not None:
        intervals["acr"] = dict(zip(("low", "high", "method"), mean_interval(correct * radius), strict=True))
    write_json(
        path / "status.json", {"state": state, "wall_seconds": 12.0, "finished": 1.7956e9, "device": "cpu"}
    )
    write_json(
        path / "summary.json",
        {
            "evaluator": evaluator, "dataset": dataset, "split": split, "num_images": len(rows),
            "subset": settings["subset"], "settings": settings,
            "metrics": {
                **{metric: float(values.mean()) for metric, values in measured.items()}, "acr": acr,
                **{f"{metric}_per_class": mean_per_class(labels, values) for metric, values in measured.items()},
            },
            "intervals": intervals, "flags": [], "marks": list(marks),
            "lineage": {
                "pretrain": pretrain, "finetune": finetune, "arch": "resnet18_small", "width": 16, "image_size": 8,
                **({"source": source, "pretrain_seed": pretrain_seed} if pretrain != "none" else {}),
                "seed": seed, "dataset": dataset, **few, "split_seed": split_seed, "train_sigma": train_sigma,
                "experiment": experiment, "pretrain_key": pretrain_key, "finetune_key": finetune_key,
                **(lineage or {}),
            },
            "wall_seconds": 12.0, "device": "cpu", "key": key, "parent": finetune_key, "commit": "0123456789ab",
        },
    )  # fmt: skip
    return path


def add_attack(store: Path, dataset: str, sa: int, ra: int, n: int = 100, **options) -> Path:
    """An AutoPGD evaluation with `sa` right and `ra` robust of n images."""
    shift = options.pop("shift", 0)
    order = np.roll(np.arange(n), shift)
    correct = order < sa
    robust = order < ra
    labels = [i % 10 for i in range(n)]
    return add_evaluation(store, "autopgd", dataset, attack_rows(correct, robust, labels), **options)


def add_certificates(store: Path, dataset: str, counts, **options) -> Path:
    """A certification with the given votes for the true class."""
    settings = {**CERTIFY, **(options.get("settings") or {})}
    labels = [i % 10 for i in range(len(counts))]
    options.setdefault("finetune", "cr")
    options.setdefault("train_sigma", 0.5)
    return add_evaluation(store, "certify", dataset, certify_rows(counts, labels, settings), **options)


def add_plain(store: Path, dataset: str, sa: int, n: int, **options) -> Path:
    """A certification without noise of n images, `sa` of them right."""
    rows = []
    for i in range(n):
        y = i % 10
        guess = y if i < sa else (y + 1) % 10
        rows.append([i, y, guess, guess, int(i < sa), 0.0, 0, 0, 0, 0.0, 0.001, "full", 0, 0])
    return add_evaluation(store, "certify", dataset, rows, **options)


def natural(store: Path, seeds=(0, 1, 2), datasets=("digits", "pets3", "faces"), n=40) -> Path:
    """A store as experiment=natural leaves it: accuracies grow with shots, gains shrink with them."""
    random = np.random.Generator(np.random.PCG64(11))
    lift = {"none": 0.0, "at": 0.5, "cr": 0.5, "simclr": 0.35, "st": 0.3}
    attack, certify = {"eps": EPS}, {"sigma": SIGMA, "ra_radius": EPS}
    noise = {"settings": certify, "train_sigma": SIGMA}
    for position, dataset in enumerate(datasets):
        for shots in SHOTS:
            for seed in seeds:
                options = {
                    "seed": seed, "split_seed": seed, "shots": shots, "experiment": "natural",
                    "recipe": {"epochs": 30}, "source": "tiny_imagenet",
                }  # fmt: skip
                base = 0.55 - 0.05 * position + 0.012 * shots
                for pretrain, share in lift.items():
                    p = base + share * (1 - base) - 0.02 * seed
                    correct = random.random(n) < p
                    robust = correct & (random.random(n) < 0.7)
                    if pretrain != "cr":
                        rows = list(attack_rows(correct, robust, [i % 10 for i in range(n)]))
                        add_evaluation(
                            store, "autopgd", dataset, rows, pretrain=pretrain, settings=attack, **options
                        )
                    if pretrain != "at":
                        votes = (
                            980 if r else 750 if c else None for c, r in zip(correct, robust, strict=True)
                        )
                        add_certificates(store, dataset, list(votes), pretrain=pretrain, **noise, **options)
                noisy = [900 if x < 0.3 else None for x in random.random(n)]
                last = {**options, "pretrain": "cr", "finetune": "st_linear", "train_sigma": 0.0}
                add_certificates(store, dataset, noisy, marks=["sigma mismatch"], settings=certify, **last)
                plain = {**certify, "sigma": 0.0}
                add_plain(store, dataset, round(n * base), n, settings=plain, **last)
    return store


def quickstart(store: Path, seeds=(0, 1, 2)) -> Path:
    """A store as experiment=quickstart leaves it: two tracks, none and pre-trained, several seeds."""
    random = np.random.Generator(np.random.PCG64(7))
    for seed in seeds:
        for pretrain, sa, ra in (("none", 78, 55), ("at", 92, 74), ("simclr", 90, 66)):
            options = {
                "pretrain": pretrain,
                "seed": seed,
                "experiment": "quickstart",
                "shots": 5,
                "recipe": {"epochs": 20},
            }
            add_attack(store, "digits", sa + seed, ra + 2 * seed, shift=seed, **options)
        for pretrain, sharp in (("none", 0.72), ("cr", 0.93), ("simclr", 0.85)):
            p = np.clip(random.normal(sharp, 0.25, size=100), 0, 1)
            counts = [None if q < 0.45 else int(min(1000, round(1000 * q))) for q in p]
            options = {
                "pretrain": pretrain,
                "seed": seed,
                "experiment": "quickstart",
                "shots": 5,
                "recipe": {"epochs": 20},
            }
            add_certificates(store, "digits", counts, **options)
    return store


def study(store: Path, tables=("2", "3"), datasets=None, n=200) -> Path:
    """A store whose accuracies are the published ones, rounded to n images, source imagenet."""
    from robust_transfer.report.index import published

    for name in tables:
        for cell, values in published.results()[name].items():
            if datasets is not None and cell.dataset not in datasets:
                continue
            sa, ra = round(n * values["sa"]), round(n * values["ra"])
            options = {
                "pretrain": cell.pretrain, "finetune": cell.finetune, "source": "imagenet",
                "experiment": f"table{name}",
            }  # fmt: skip
            if cell.evaluator == "autopgd":
                add_attack(store, cell.dataset, sa, ra, n, **options)
                continue
            sigma = cell.sigma
            counts = [990] * ra + [700] * (sa - ra) + [None] * (n - sa)
            settings = {"sigma": sigma, "subset": 500}
            if sigma == 0:
                settings["n"] = 1000
            marks = ["sigma mismatch"] if cell.finetune == "st_linear" and sigma else []
            if sigma == 0:
                add_plain(store, cell.dataset, sa, n, settings=settings, marks=marks, **options)
            else:
                add_certificates(store, cell.dataset, counts, settings=settings, marks=marks, **options)
    return store
