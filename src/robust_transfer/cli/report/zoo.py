"""rt-report zoo: published weights that have a name."""

from __future__ import annotations

import argparse
import dataclasses

from robust_transfer.cli.report.options import Command, add_json, show_json


def zoo(arguments: argparse.Namespace) -> int:
    """List the catalogue of published weights."""
    from robust_transfer.models.zoo import catalogue

    if arguments.json:
        show_json([dataclasses.asdict(entry) for entry in catalogue().values()])
        return 0
    for entry in catalogue().values():
        accuracy = "-" if entry.accuracy is None else f"{entry.accuracy:.2f} %"
        place = "hub" if entry.hub else "by RobustBench" if entry.drive else "not known"
        columns = (f"{entry.name:<40}", f"{entry.arch:<17}", f"{entry.threat:<10}", f"{accuracy:>7}")
        print("  ".join((*columns, f"{place:<14}", entry.licence, entry.trained)))
    print("also: torchvision:NAME, timm:NAME.TAG, hf:OWNER/REPO[/FILE]; rt-train pretrain.weights=NAME ...")
    return 0


COMMANDS = (Command("zoo", "list published weights that have a name", zoo, add_json),)
