"""rt-report: an index of runs, the study's tables and figures, and checks of what was measured."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robust_transfer.cli.errors import command
from robust_transfer.cli.parser import Parser
from robust_transfer.core.errors import ConfigError, EvaluationError, UserError, did_you_mean

EPILOG = """\
examples:
  rt-report runs                          every run of the store, with its key
  rt-report table quickstart              the quickstart's table in Markdown; .md, .csv, .tex in runs/report/
  rt-report table 2 --source published    the study's own numbers, in the same form
  rt-report figure curve KEY KEY          certified-accuracy curves of two models
  rt-report compare KEY KEY               paired tests of two models on the same images
"""
COMMANDS = {
    "runs": "list every evaluation and training stage of a store",
    "show": "tell everything that is known of one stage",
    "table": "quickstart, 2 to 5, or mini2 to mini5: in Markdown, CSV and LaTeX",
    "figure": "quickstart, 2, 3, mini2, mini3, curve KEY ... or shots: as PNG and PDF",
    "claims": "check every number in the study's text",
    "findings": "what the miniature study found, in sentences with intervals",
    "compare": "our numbers beside the published ones, with paired tests; or two KEYs",
    "verify": "recompute every number of an evaluation, draw some samples again; exit 2 if one differs",
    "export": "write a model to a file, with a model card",
    "html": "one static page of tables, figures, flags and cost",
}
PUBLISHED = ("2", "3", "4", "5")
TABLES = ("quickstart", *PUBLISHED, *(f"mini{number}" for number in PUBLISHED))
OPTIONS = ("--store", "--source", "--out", "--help", "--redraw", "--root")
DEFAULT_REDRAW = 3
FIGURES = ("quickstart", "2", "3", "mini2", "mini3", "curve", "shots")


@command("rt-report")
def main(argv: Sequence[str] | None = None) -> int:
    """Run rt-report."""
    words = list(argv or ())
    parser = _parser()
    if not words:
        parser.print_help()
        return 0
    _check_command(words)
    arguments = parser.parse_args(words)
    handler: Callable[[argparse.Namespace], int] = HANDLERS[arguments.command]
    return handler(arguments)


def _check_command(words: Sequence[str]) -> None:
    # argparse lists all choices; the nearest one helps more.
    skip = False
    for word in words:
        if skip or word.startswith("-"):
            skip = not skip and word in ("--store", "--source", "--out")
            continue
        if word not in COMMANDS:
            raise ConfigError(
                f"'{word}' is no command of rt-report", did_you_mean(word, COMMANDS), "rt-report --help"
            )
        return


def _parser() -> Parser:
    shared = Parser(add_help=False)
    _add_options(shared, default=argparse.SUPPRESS)
    parser = Parser(
        "rt-report", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.known = OPTIONS
    _add_options(parser, default=None)
    actions = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    made = {
        name: actions.add_parser(name, help=text, description=text, parents=[shared])
        for name, text in COMMANDS.items()
    }
    for name in ("show", "verify", "export"):
        made[name].add_argument("key", metavar="KEY", help="a stage's key, or its first digits")
    made["table"].add_argument("number", metavar="N", help=", ".join(TABLES))
    made["figure"].add_argument("number", metavar="N", help=", ".join(FIGURES))
    made["figure"].add_argument(
        "keys", metavar="KEY", nargs="*", help="certifications to draw (figure curve)"
    )
    made["compare"].add_argument("keys", metavar="KEY", nargs="*", help="two evaluations of the same images")
    made["verify"].add_argument(
        "--redraw",
        metavar="K",
        type=int,
        help=f"journalled units of a certification to draw again, 0: none (default: {DEFAULT_REDRAW})",
    )
    made["verify"].add_argument(
        "--root", metavar="DIR", help="folder with all data sets (default: $RT_DATA, else data/)"
    )
    made["export"].add_argument(
        "--to", metavar="FILE", required=True, help="file to write, such as model.safetensors"
    )
    made["export"].add_argument(
        "--plain", action="store_true", help="a bare state_dict instead of safetensors"
    )
    return parser


def _add_options(parser: argparse.ArgumentParser, *, default: Any) -> None:
    parser.add_argument("--store", metavar="DIR", default=default, help="the runs' root (default: runs)")
    parser.add_argument(
        "--source",
        choices=("runs", "published"),
        default=default,
        help="our runs (default) or the published numbers",
    )
    parser.add_argument(
        "--out", metavar="DIR", default=default, help="where files go (default: STORE/report)"
    )


# ---------------------------------------------------------------- what the options mean


def _store(arguments: argparse.Namespace) -> Path:
    return Path(arguments.store or "runs")


def _source(arguments: argparse.Namespace) -> str:
    return arguments.source or "runs"


def _index(arguments: argparse.Namespace) -> Any:
    from robust_transfer.report.index.collect import collect

    root = _store(arguments)
    if _source(arguments) == "runs" and not root.is_dir():
        raise ConfigError(
            f"store={root} does not exist (expected a directory with runs)",
            "rt-train experiment=quickstart makes one; --store DIR names another",
        )
    return collect(root)


def _directory(arguments: argparse.Namespace) -> Path:
    directory = Path(arguments.out) if arguments.out else _store(arguments) / "report"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {directory} cannot be written ({error.strerror})", "--out DIR") from error
    return directory


def _write(arguments: argparse.Namespace, files: dict[str, str]) -> None:
    from robust_transfer.core.files import write_text

    directory = _directory(arguments)
    for name, text in files.items():
        write_text(directory / name, text)
    _wrote([directory / name for name in files])


def _wrote(paths: Sequence[Path]) -> None:
    names = ", ".join(path.name for path in paths)
    print(f"wrote {names} in {paths[0].parent}", file=sys.stderr)


def _evaluation(arguments: argparse.Namespace, key: str, index: Any) -> Any:
    from robust_transfer.store import directories

    stage = directories.find(_store(arguments), key)
    run = next((r for r in (*index.runs, *index.smoke) if r.path == stage.path), None)
    if run is None:
        raise EvaluationError(
            f"{stage.path.name} is no finished evaluation ({stage.kind}, {stage.state()})", "rt-report runs"
        )
    return run


def _choice(word: str, what: str, choices: Sequence[str]) -> str:
    if word not in choices:
        raise ConfigError(
            f"there is no {what} '{word}' (expected {', '.join(choices)})", did_you_mean(word, choices)
        )
    return word


# ---------------------------------------------------------------- commands


def _runs(arguments: argparse.Namespace) -> int:
    from robust_transfer.report.output.listing import runs_text

    print(runs_text(_index(arguments)), end="")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from robust_transfer.report.output.listing import show_text
    from robust_transfer.store import directories

    index = _index(arguments)
    print(show_text(directories.find(_store(arguments), arguments.key), index), end="")
    return 0


def _table(arguments: argparse.Namespace) -> int:
    from robust_transfer.report.study import tables

    name, source = _choice(arguments.number.removeprefix("table"), "table", TABLES), _source(arguments)
    if name not in PUBLISHED and source == "published":
        raise ConfigError(f"table {name} has no published numbers", f"rt-report table {name}")
    table = tables.build(name, source, _index(arguments))
    text, stem = tables.to_markdown(table), tables.file_name(table)
    print(text, end="")
    _write(
        arguments,
        {f"{stem}.md": text, f"{stem}.csv": tables.to_csv(table), f"{stem}.tex": tables.to_latex(table)},
    )
    return 0


def _figure(arguments: argparse.Namespace) -> int:
    from robust_transfer.report.output import curves, drawings, figures, shots
    from robust_transfer.report.study import tables

    name = _choice(arguments.number.removeprefix("figure"), "figure", FIGURES)
    if (name == "curve") != bool(arguments.keys):
        raise ConfigError(
            "figure curve takes one KEY or several, the other figures none", "rt-report figure curve KEY"
        )
    if name not in PUBLISHED and _source(arguments) == "published":
        raise ConfigError(f"figure {name} has no published numbers", f"rt-report figure {name}")
    index = _index(arguments)
    if name == "curve":
        drawing = curves.curve_figure([_evaluation(arguments, key, index) for key in arguments.keys])
    elif name == "shots":
        drawing = shots.shots_figure(index)
    else:
        drawing = figures.figure(tables.build(name, _source(arguments), index))
    print(drawing.caption)
    _wrote(drawings.write(drawing, _directory(arguments)))
    return 0


def _claims(arguments: argparse.Namespace) -> int:
    from robust_transfer.report.study import claims, tables

    source, index = _source(arguments), _index(arguments)
    built = {name: tables.build(name, source, index) for name in ("2", "3")}
    found, runs = claims.verdicts(built), claims.runs_of(built)
    text = claims.to_markdown(found, source, runs)
    print(text, end="")
    suffix = "-published" if source == "published" else ""
    _write(arguments, {"claims.csv": claims.to_csv(found, runs), f"claims{suffix}.md": text})
    return 0


def _findings(arguments: argparse.Namespace) -> int:
    from robust_transfer.report.study import findings, mini_study, tables

    if _source(arguments) == "published":
        raise ConfigError("the miniature study has no published numbers", "rt-report findings")
    index = _index(arguments)
    built = {name: tables.build(name, "runs", index) for name in mini_study.TABLES}
    found = findings.findings(built)
    text = findings.to_markdown(found, built)
    print(text, end="")
    _write(arguments, {"findings.md": text, "findings.csv": findings.to_csv(found)})
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from robust_transfer.report.study import compare

    index = _index(arguments)
    if len(arguments.keys) not in (0, 2):
        raise ConfigError(
            f"compare takes no KEY or two (found {len(arguments.keys)})", "rt-report compare KEY KEY"
        )
    if arguments.keys:
        first, second = (_evaluation(arguments, key, index) for key in arguments.keys)
        files = compare.pair_files(first, second)
    else:
        files = compare.store_files(index)
    print(next(iter(files.values())), end="")
    _write(arguments, files)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from robust_transfer.evaluation.recompute import to_text, verify

    run = _evaluation(arguments, arguments.key, _index(arguments))
    findings = verify(run)
    print(to_text(run, findings), end="", flush=True)
    differences = list(findings.differences)
    blocks = DEFAULT_REDRAW if arguments.redraw is None else arguments.redraw
    if blocks < 0:
        raise ConfigError(f"--redraw {blocks} (expected 0 or more)")
    if run.evaluator == "certify" and run.settings.get("sigma") and blocks:
        try:
            differences += _redraw(arguments, run.path, blocks)
        except UserError as error:
            if arguments.redraw is not None:
                raise
            # Not asked for by name: what was recomputed stands without it.
            print(f"nothing redrawn: {error.what}")
    return 2 if differences else 0


def _redraw(arguments: argparse.Namespace, stage: Path, blocks: int) -> list[str]:
    # Drawing again needs the model, the images and torch; everything before needs none of them.
    from robust_transfer.config.data import DataConfig
    from robust_transfer.evaluation.redraw import redraw, to_text

    root = arguments.root or os.environ.get("RT_DATA") or "data/"
    data = DataConfig(root=root, verify=True, on_error="stop")
    # Other units each time, which nobody can know when the journal is written.
    redrawn = redraw(stage, blocks=blocks, seed=secrets.randbits(32), data=data)
    print(to_text(redrawn), end="")
    print("".join(f"  {line}\n" for line in redrawn.findings.differences), end="")
    return redrawn.findings.differences


def _export(arguments: argparse.Namespace) -> int:
    from robust_transfer.models.export import export_model
    from robust_transfer.report.output.cards import card_facts
    from robust_transfer.store import directories

    index = _index(arguments)
    stage = directories.find(_store(arguments), arguments.key)
    if stage.kind == "eval":
        key = stage.summary().get("lineage", {}).get("finetune_key")
        if key is None:
            raise EvaluationError(
                f"{stage.path.name} evaluated a file that is not in the store", "rt-report runs"
            )
        stage = directories.find(_store(arguments), key)
    written = export_model(stage.path, arguments.to, plain=arguments.plain, facts=card_facts(stage, index))
    for path in written:
        print(path)
    return 0


def _html(arguments: argparse.Namespace) -> int:
    from robust_transfer.report.output.html import page

    directory = _directory(arguments)
    _write(arguments, {"index.html": page(_index(arguments), directory)})
    return 0


HANDLERS: dict[str, Callable[[argparse.Namespace], int]] = {
    "runs": _runs,
    "show": _show,
    "table": _table,
    "figure": _figure,
    "claims": _claims,
    "findings": _findings,
    "compare": _compare,
    "verify": _verify,
    "export": _export,
    "html": _html,
}


if __name__ == "__main__":
    sys.exit(main(None))
