"""rt-report export and push: a model as a file or a folder, with a model card, and its upload."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from robust_transfer.cli.report.options import Command, add_key, index_of, store_of
from robust_transfer.core.errors import ConfigError, EvaluationError

if TYPE_CHECKING:
    from robust_transfer.report.index.collect import Index
    from robust_transfer.store.directories import StageDirectory

FORMATS = {
    "safetensors": "weights and their contract in one file",
    "torch": "a bare state_dict for torch.load",
    "hf": "a folder for the Hugging Face hub",
    "timm": "the same for a network that timm loads",
    "onnx": "a graph with the normalisation in it",
    "card": "the card alone, for an evaluation of a file or of a model behind a denoiser",
}


def export(arguments: argparse.Namespace) -> int:
    """Write a model; the key of an evaluation stands for the model that it measured."""
    from robust_transfer.report.output.cards import card_metadata
    from robust_transfer.store import directories

    index = index_of(arguments)
    stage = directories.find(store_of(arguments), arguments.key)
    if stage.kind == "eval":
        summary = stage.summary()
        key = summary.lineage.finetune_key if summary else None
        if key is None:
            if arguments.format == "card":
                return _file_card(stage, index, arguments.to)
            raise EvaluationError(
                f"{stage.path.name} evaluated a file that is not in the store, or a model behind a denoiser",
                "--format card writes its card",
            )
        stage = directories.find(store_of(arguments), key)
    for path in _write(arguments.format, stage.path, arguments.to, card_metadata(stage, index)):
        print(path)
    return 0


def _file_card(stage: StageDirectory, index: Index, to: str) -> int:
    """Write the card of a model that is no stage's, opened from where its evaluation found it."""
    from robust_transfer.core.files import write_text
    from robust_transfer.evaluation.measured_model import loading_code, reopen_model
    from robust_transfer.models import model_card
    from robust_transfer.report.output.cards import evaluation_card

    run = next(run for run in (*index.runs, *index.smoke) if run.path == stage.path)
    record = stage.status().model_file
    if record is None:
        raise EvaluationError(f"{stage.path.name} does not say where its model lies", "evaluate it again")
    model = reopen_model(record, run.lineage, stage.path.name)
    names = ("arch", "width", "num_classes", "class_names", "image_size", "mean", "std", "train_sigma")
    own = {name: getattr(model, name) for name in names}
    details = {**evaluation_card(run), "loading": loading_code(record), "key": run.key}
    write_text(Path(to), model_card({**own, "file": record["path"], "plain": False, **details}))
    print(to)
    return 0


def _write(form: str, stage: Path, to: str, details: dict[str, object]) -> list[Path]:
    from robust_transfer.models.export import export_model, finished_model
    from robust_transfer.models.hub import export_folder
    from robust_transfer.models.onnx_export import export_onnx

    if form == "card":
        raise ConfigError(f"the card of {stage.name} is written beside its weights", "--format safetensors")
    if form == "onnx":
        return [export_onnx(finished_model(stage), to)]
    if form in ("hf", "timm"):
        return export_folder(finished_model(stage), to, details=details, for_timm=form == "timm")
    return export_model(stage, to, plain=form == "torch", details=details)


def push(arguments: argparse.Namespace) -> int:
    """Upload a folder that `export --format hf` wrote."""
    from robust_transfer.models.hub import push_folder

    print(push_folder(arguments.folder, arguments.repo, private=arguments.private))
    return 0


def _add_export(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    parser.add_argument(
        "--to", metavar="PATH", required=True, help="file to write, such as model.safetensors; hf: folder"
    )
    forms = "; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items())
    parser.add_argument("--format", choices=FORMATS, default="safetensors", help=forms)


def _add_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="written by export --format hf")
    parser.add_argument("repo", metavar="OWNER/NAME", help="on the Hugging Face hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make the repository private")


COMMANDS = (
    Command("export", "write a model to a file or a folder, with a model card", export, _add_export),
    Command("push", "upload an exported folder to the Hugging Face hub", push, _add_push),
)
