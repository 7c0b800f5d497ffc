"""Make the stages of the present format anew: `python tests/frozen/freeze.py`, on a clean checkout.

What a stage holds (its keys, records and the commit in env.json) is that of the checkout. A format that a
release has closed is never made anew.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from robust_transfer.cli.train import main
from robust_transfer.pipeline.stage import STAGE_FORMAT
from robust_transfer.store.directories import KINDS, scan
from robust_transfer.store.provenance import git_commit

RUN = """
    pretrain=st source=mnist5k pretrain.max_steps=2 pretrain.batch_size=8
    finetune=cr dataset=digits dataset.shots=2
    finetune.max_steps=2 finetune.batch_size=4 finetune.schedule=cosine
    model=resnet18_small model.width=8 model.image_size=8 runtime.device=cpu runtime.devices=1 label=frozen
    certify.subset=6 certify.n=200 certify.n0=100
"""
EVALUATIONS = (
    "evaluators=[clean,pgd,autopgd,certify] clean.subset=10 pgd.subset=4 pgd.num_steps=2 "
    "autopgd.subset=4 autopgd.num_steps=3",
    "evaluators=[certify] certify.mode=decide certify.radii=[0.25,0.5]",
    "evaluators=[certify] certify.mode=adaptive",
)
LEFT_OUT = ("lock", "last.pt", "model.safetensors")


def freeze(target: Path) -> None:
    """Compute the stages and put them at `target`, less weights and the host's name."""
    if str(git_commit()).endswith("-dirty"):
        sys.exit("the stages would name no commit: commit your changes first")
    with tempfile.TemporaryDirectory() as folder:
        for words in EVALUATIONS:
            if main([*RUN.split(), *words.split(), f"store={folder}"]):
                sys.exit("a run failed")
        for stage in scan(folder):
            stage.update(host="host")
        shutil.rmtree(target, ignore_errors=True)
        for kind in KINDS:
            shutil.copytree(Path(folder) / kind, target / kind, ignore=shutil.ignore_patterns(*LEFT_OUT))


if __name__ == "__main__":
    freeze(Path(__file__).parent / f"format{STAGE_FORMAT}")
