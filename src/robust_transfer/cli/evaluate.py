"""rt-eval: evaluate any checkpoint, ours or foreign."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

from robust_transfer.cli import app
from robust_transfer.cli.arguments import Arguments
from robust_transfer.cli.completion import override_words
from robust_transfer.cli.errors import command
from robust_transfer.config.evaluators import LINEAR_PROBE, evaluators
from robust_transfer.config.run import evaluate_config
from robust_transfer.core.errors import ConfigError, did_you_mean

PROGRAM = "rt-eval"
PROBE_MEANING = "a pre-training by itself: train a last layer on it, then clean accuracy"
HELP = """\
rt-eval EVALUATOR checkpoint=C dataset=D [key=value ...]
  Evaluate a checkpoint: a stage directory, a key of the store, a file, or weights by name.

{evaluators}

  certify.sigma=0.5 certify.n=100000 autopgd.eps=0.5 autopgd.num_restarts=5 ...
  EVALUATOR.subset=500 evenly spaced test images; null: all of them
  Files: image_size=32 whole_image=true format=auto normalize=imagenet|none|[mean,std] model=NAME
  Every value: rt-eval certify --cfg job

{groups}

Flags
  --explain NAME     what a value means (certify.sigma), or those of a group (certify)
  --plan             show the evaluation's key and state; run nothing
  -m, --multirun     sweep: rt-eval -m autopgd checkpoint=C dataset=D autopgd.eps=0.25,0.5,1.0
  --cfg job          print the composed configuration
  --config-dir DIR   your own configs beside the shipped ones
  --store DIR        the runs' root, as store=DIR
  --version          which version this is
  -sc install=bash   shell completion: eval "$(rt-eval -sc install=bash)"

Example
  rt-eval certify checkpoint=KEY dataset=digits certify.sigma=0.25"""


def _words(before: list[str], current: str) -> Iterable[str]:
    if not before and "=" not in current and not current.startswith("-"):
        return (*evaluators(), LINEAR_PROBE)
    return override_words("evaluate", before, current)


@command(PROGRAM, _words)
def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `rt-eval`."""
    arguments = list(argv or ())
    if not arguments:
        print(_help())
        return 2
    return app.main(
        PROGRAM, "evaluate", arguments, help_text=_help, rewrite=_named_evaluator, action=_evaluate
    )


def _help() -> str:
    meanings = {name: config.spec.meaning for name, config in evaluators().items()}
    words = {**meanings, LINEAR_PROBE: PROBE_MEANING}
    listed = "\n".join(f"  {name:<12} {meaning}" for name, meaning in words.items())
    groups = app.group_help(
        (("dataset", "data set to evaluate on"), ("model", "architecture that the checkpoint must have"))
    )
    return HELP.format(evaluators=listed, groups=groups)


def _named_evaluator(overrides: list[str]) -> list[str]:
    """Rewrite the first word: `certify` -> `evaluators=[certify]`."""
    overrides = [_key_as_text(word) for word in overrides]
    if any(word.startswith("evaluators=") for word in overrides):
        return overrides
    words = (*evaluators(), LINEAR_PROBE)
    if not overrides or "=" in overrides[0]:
        raise ConfigError("no evaluator is named", f"rt-eval {'|'.join(words)} checkpoint=C dataset=D")
    name, *rest = overrides
    if name not in words:
        raise ConfigError(f"'{name}' is not an evaluator", did_you_mean(name, words))
    return [f"evaluators=[{name}]", *rest]


def _key_as_text(word: str) -> str:
    """Quote a key, which Hydra would read as a number if it has digits alone, or digits and one e."""
    return re.sub(r"(?<=[=,])([0-9a-f]+)(?=,|$)", r"'\1'", word) if word.startswith("checkpoint=") else word


def _evaluate(arguments: Arguments, overrides: list[str]) -> int:
    from robust_transfer.cli import compose, plans
    from robust_transfer.pipeline import checks, foreign, inputs, run
    from robust_transfer.pipeline.stage import CheckpointMetadata, unfinished

    if arguments.json or arguments.measure:
        raise ConfigError(
            "--json and --measure are flags of rt-train", "rt-report runs --json lists what is measured"
        )
    with compose.hydra_session(PROGRAM, arguments.config_dir):
        composition = compose.read("evaluate", overrides, multirun=arguments.multirun)
    configs = [evaluate_config(job.values) for job in composition.jobs]
    planned = [inputs.evaluation_stages(config) for config in configs]
    due = [unfinished(stages, config.store) for config, stages in zip(configs, planned, strict=True)]
    for config, stages in zip(configs, due, strict=True):
        checks.check_devices(stages, config.runtime)
    for line in dict.fromkeys(
        foreign.evaluation_line(stage)
        for stages in planned
        for stage in stages
        if isinstance(stage.parent, CheckpointMetadata) and stage.kind == "eval"
    ):
        app.say(line)
    if arguments.plan:
        return max(
            plans.show_evaluations(stages, config.store, config.data)
            for config, stages in zip(configs, planned, strict=True)
        )
    run.check_inputs((stages, config.data) for config, stages in zip(configs, due, strict=True))
    for config, stages in zip(configs, due, strict=True):
        run.check_machine(stages, config.runtime)
    outcomes = [
        run.execute(stages, config.store, data=config.data, runtime=config.runtime, say=app.say)
        for config, stages in zip(configs, planned, strict=True)
    ]
    app.show(plans.rows(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main(None))
