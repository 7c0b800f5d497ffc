"""rt-report export: a model as a file, with a model card."""

from __future__ import annotations

import argparse

from robust_transfer.cli.report.options import Command, add_key, index_of, store_of
from robust_transfer.core.errors import EvaluationError


def export(arguments: argparse.Namespace) -> int:
    """Write a model; the key of an evaluation stands for the model that it measured."""
    from robust_transfer.models.export import export_model
    from robust_transfer.report.output.cards import card_metadata
    from robust_transfer.store import directories

    index = index_of(arguments)
    stage = directories.find(store_of(arguments), arguments.key)
    if stage.kind == "eval":
        summary = stage.summary()
        key = summary.lineage.finetune_key if summary else None
        if key is None:
            raise EvaluationError(
                f"{stage.path.name} evaluated a file that is not in the store", "rt-report runs"
            )
        stage = directories.find(store_of(arguments), key)
    written = export_model(
        stage.path, arguments.to, plain=arguments.plain, details=card_metadata(stage, index)
    )
    for path in written:
        print(path)
    return 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    parser.add_argument(
        "--to", metavar="FILE", required=True, help="file to write, such as model.safetensors"
    )
    parser.add_argument("--plain", action="store_true", help="a bare state_dict instead of safetensors")


COMMANDS = (Command("export", "write a model to a file, with a model card", export, _add_arguments),)
