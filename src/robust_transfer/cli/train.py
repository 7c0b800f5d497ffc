"""rt-train: plan a run or a sweep, compute what is missing, print the rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from robust_transfer.cli import app
from robust_transfer.cli.arguments import Arguments
from robust_transfer.cli.completion import override_words
from robust_transfer.cli.errors import command, report_user_error
from robust_transfer.config.evaluators import evaluators
from robust_transfer.config.methods import FINETUNE, PRETRAIN
from robust_transfer.config.plugins import load_methods
from robust_transfer.core.errors import ConfigError, UserError

PROGRAM = "rt-train"
GROUPS = (
    ("pretrain", "how the network is pre-trained"),
    ("source", "data of pre-training"),
    ("finetune", "how it is fine-tuned"),
    ("dataset", "target data set"),
    ("model", "architecture"),
    ("budget", "limits on cost"),
    ("experiment", "a whole table or study"),
    ("cell", "a pair of methods, for tables that are not a product"),
)
HELP = """\
rt-train pretrain=P finetune=F dataset=D [key=value ...]
  Plan the stages (pretrain -> finetune -> evaluate), run what is missing, print the row.
  The same command again resumes what was interrupted and computes nothing twice.

{groups}

Methods
{methods}

  seed=0 until=pretrain|finetune store=runs
  evaluators=auto|[{evaluators}]
  Every other value: rt-train pretrain=P finetune=F dataset=D --cfg job

Flags
  --explain NAME     what a value (finetune.lr) or a group's values mean: range, default, origin
  --plan [--json]    show stages, states, missing inputs and cost; run nothing
  --measure          with --plan: time a few steps on this machine
  -m, --multirun     sweep: rt-train -m pretrain=none,cr finetune=cr dataset=pets,dtd
  --cfg job          print the composed configuration (-p finetune: a part of it)
  --config-dir DIR   your own configs beside the shipped ones
  --store DIR        the runs' root, as store=DIR
  --version          which version this is
  -sc install=bash   shell completion: eval "$(rt-train -sc install=bash)"

Examples
  rt-train experiment=quickstart
  rt-train pretrain=simclr finetune=cr dataset=pets budget=smoke
  rt-train --plan experiment=table3"""


@command(PROGRAM, partial(override_words, "train"))
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `rt-train`."""
    return app.main(
        PROGRAM,
        "train",
        list(argv or ()),
        help_text=lambda: HELP.format(
            groups=app.group_help(GROUPS), methods=_method_lines(), evaluators=",".join(evaluators())
        ),
        rewrite=_refuse_words,
        action=_train,
    )


def _method_lines() -> str:
    """Return one line for each method: its name, and the first sentence of its config's docstring."""
    load_methods()
    lines = []
    for name, method in {**PRETRAIN, **FINETUNE}.items():
        sentence = (method.__doc__ or "").strip().splitlines()[0].rstrip(".")
        title, _, what = sentence.split(" (")[0].partition(": ")
        lines.append(f"  {name:<11} {what if what and ' ' not in title else title}")
    return "\n".join(lines)


def _refuse_words(overrides: list[str]) -> list[str]:
    for before, word in zip(["", *overrides], overrides, strict=False):
        if "=" not in word and not word.startswith("~"):
            joined = (
                f"without a blank: {before}{word}" if word.isdigit() and "=" in before else "rt-train --help"
            )
            raise ConfigError(f"'{word}' is not an override (expected key=value)", joined)
    return overrides


def _train(arguments: Arguments, overrides: list[str]) -> int:
    from robust_transfer.cli import compose, launching, plans

    with compose.hydra_session(PROGRAM, arguments.config_dir):
        composition = compose.read("train", overrides, multirun=arguments.multirun)
        jobs = launching.planned(composition)
        if arguments.plan or arguments.measure:
            return plans.show(jobs, measure=arguments.measure, as_json=arguments.json)
        app.say(plans.first_line(jobs))
        launching.check(composition, jobs)
        if composition.launcher == "basic":
            app.say(plans.machine_line(jobs))
        outcomes = launching.run_all(composition, jobs, say=app.say)
    failed = [outcome for outcome in outcomes if isinstance(outcome, UserError)]
    app.show(plans.rows([o for o in outcomes if not isinstance(o, UserError)]))
    for error in failed:
        report_user_error(PROGRAM, error)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main(None))
