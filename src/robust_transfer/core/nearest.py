"""Which of some names a word means: misspelt, in another's vocabulary, or one of a numbered family."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

CUTOFF, TIE, MOST = 0.6, 0.04, 4

# What others call what is called otherwise here, without underscores.
MEANT = {
    "learningrate": "lr",
    "eta": "lr",
    "wd": "weight_decay",
    "decay": "weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "numepochs": "epochs",
    "nepochs": "epochs",
    "epsilon": "eps",
    "radius": "eps",
    "std": "sigma",
    "noise": "sigma",
    "noisesd": "sigma",
    "noisestd": "sigma",
    "iterations": "num_steps",
    "numiter": "num_steps",
    "niter": "num_steps",
    "steps": "num_steps",
    "pgdsteps": "num_steps",
    "stepsize": "step_size",
    "restarts": "num_restarts",
    "lbd": "consistency_weight",
    "lambda": "consistency_weight",
    "tau": "temperature",
    "workers": "num_workers",
    "gpu": "cuda",
    "gpus": "devices",
    "ngpus": "devices",
    "arch": "model",
    "architecture": "model",
    "network": "model",
    "data": "dataset",
    "opt": "optimizer",
    "scheduler": "schedule",
    "lrscheduler": "schedule",
    "width": "width",
    "imgsize": "image_size",
    "resolution": "image_size",
    "fewshot": "shots",
    "nshots": "shots",
    "ls": "status",
    "list": "status",
}


def nearest(word: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that a word most likely means, at most four; none where nothing is near."""
    known = sorted(set(choices))
    if same := [name for name in known if name.lower() == word.lower()]:
        return same
    if family := _family(word, known):
        return family[:MOST]
    plain = word.lower().replace("_", "").replace("-", "")
    if MEANT.get(plain) in known:
        return [MEANT[plain]]
    alike = {name: _ratio(word, name) for name in known}
    best = max(alike.values(), default=0.0)
    if best >= CUTOFF:
        near = [name for name in known if alike[name] >= max(CUTOFF, best - TIE)]
        return sorted(near, key=lambda name: -alike[name])[:MOST]
    return [name for name in known if len(word) > 2 and word.lower() in re.split(r"[._/]", name)][:MOST]


def _family(word: str, known: list[str]) -> list[str]:
    """Return the names that differ from the word in their digits alone: which of them cannot be guessed."""
    stem = re.sub(r"\d+", "#", word)
    return [name for name in known if "#" in stem and re.sub(r"\d+", "#", name) == stem]


def _ratio(word: str, name: str) -> float:
    """Rate how alike two names are; letters that changed places count as little as one that is missing."""
    pair = (word.lower(), name.lower())
    matched = difflib.SequenceMatcher(None, *pair).ratio()
    if len(word) == len(name) and sorted(pair[0]) == sorted(pair[1]):
        return max(matched, 0.9)
    return matched
