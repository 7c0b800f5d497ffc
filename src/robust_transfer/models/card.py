"""The model card: the weights, how to load them, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robust_transfer.config.model import FIXED_WIDTH, TIMM, TORCHVISION


def model_card(metadata: Mapping[str, Any]) -> str:
    """Return a model card in Markdown.

    Parameters
    ----------
    metadata : arch, width, num_classes, class_names, image_size, mean, std, train_sigma, key, file and plain
        describe the weights. Optional, left out of the card where absent: title, data, licence, recipe,
        threat_model, commit (text); loading (Python, in place of that for a file of ours); results (list of
        dicts: evaluator, metric, value in 0..1 or a radius, num_images, interval [low, high], settings, key).
        Text is printed as it is, values with four digits.
    """
    sections = [
        f"# {metadata.get('title') or metadata['file']}",
        _contract(metadata),
        _code(metadata["loading"]) if metadata.get("loading") else _loading(metadata),
        *(
            f"## {heading}\n\n{metadata[name]}"
            for heading, name in (
                ("Data", "data"),
                ("Licence", "licence"),
                ("Recipe", "recipe"),
                ("Threat model", "threat_model"),
            )
            if metadata.get(name)
        ),
        _results(metadata.get("results") or []),
        _origin(metadata),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _contract(metadata: Mapping[str, Any]) -> str:
    width = "" if _fixed(metadata["arch"]) else f", width {metadata['width']}"
    sigma, library = metadata["train_sigma"], _library(metadata["arch"])
    lines = [
        "## Input and output",
        "",
        f"- network: {metadata['arch']}{width}, {metadata['num_classes']} classes, keys as in {library}",
        "- input: RGB, (B, 3, H, W), float in [0, 1], trained at "
        f"{metadata['image_size']} x {metadata['image_size']} pixels",
        f"- normalisation, the first step inside the model: mean {metadata['mean']}, std {metadata['std']}",
        f"- Gaussian noise in training: {'not known' if sigma is None else f'sigma {sigma} in [0, 1] units'}",
    ]
    if metadata["class_names"]:
        lines.append(f"- classes in order: {', '.join(metadata['class_names'])}")
    return "\n".join(lines)


def _loading(metadata: Mapping[str, Any]) -> str:
    if metadata["plain"]:
        read = f'state = torch.load("{metadata["file"]}", weights_only=True)'
    else:
        read = f'state = safetensors.torch.load_file("{metadata["file"]}")'
    classes, arch = metadata["num_classes"], metadata["arch"]
    if arch.startswith(TIMM):
        call = f'"{arch.removeprefix(TIMM)}", num_classes={classes}'
        build = [f"network = timm.create_model({call}{_fixed_size(metadata)})"]
    elif arch not in TORCHVISION:
        build = [f'network = robust_transfer.models.backbone("{arch}", {classes}, {metadata["width"]})']
    else:
        build = [f"network = torchvision.models.{metadata['arch']}(num_classes={max(classes, 1)})"]
        build += ["network.fc = torch.nn.Identity()  # the weights have no head"] if not classes else []
    mean, std = json.dumps(metadata["mean"]), json.dumps(metadata["std"])
    lines = [
        read,
        *build,
        "network.load_state_dict(state)",
        "network.eval()",
        f"normalize = torchvision.transforms.Normalize({mean}, {std})",
        "logits = network(normalize(images))  # images in [0, 1]",
    ]
    return _code("\n".join(lines))


def _code(text: str) -> str:
    return f"## Loading\n\n```python\n{text}\n```"


def _fixed(arch: str) -> bool:
    return arch in FIXED_WIDTH or arch.startswith(TIMM)


def _library(arch: str) -> str:
    if arch.startswith(TIMM):
        return "timm"
    return "robust_transfer" if arch in FIXED_WIDTH and arch not in TORCHVISION else "torchvision"


def _fixed_size(metadata: Mapping[str, Any]) -> str:
    """Return the argument for networks of timm that are built for one image size."""
    from robust_transfer.models.timm_networks import table_entry

    fixed = table_entry(metadata["arch"].removeprefix(TIMM)).fixed_input_size
    return f", img_size={metadata['image_size']}" if fixed else ""


def _results(results: list[Mapping[str, Any]]) -> str:
    if not results:
        return ""
    lines = [
        "## Results",
        "",
        "| evaluator | metric | value | 95 % interval | images | settings | key |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results:
        low, high = row["interval"]
        lines.append(
            f"| {row['evaluator']} | {row['metric']} | {row['value']:.4g} | {low:.4g} to {high:.4g} "
            f"| {row['num_images']} | {row['settings']} | {row['key']} |"
        )
    return "\n".join(lines)


def _origin(metadata: Mapping[str, Any]) -> str:
    lines = [f"- {name}: {metadata[name]}" for name in ("key", "commit") if metadata.get(name)]
    return "\n".join(["## Origin", "", *lines]) if lines else ""
