"""The model card: what the weights are, how they are loaded, what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def model_card(metadata: Mapping[str, Any]) -> str:
    """Return a model card in Markdown.

    Parameters
    ----------
    metadata : arch, width, num_classes, class_names, image_size, mean, std, train_sigma, key, file and plain
        describe the weights. Optional, left out of the card where absent: title, data, licence, recipe,
        threat_model, commit (text); results (list of dicts: evaluator, metric, value in 0..1 or a radius,
        num_images, interval [low, high], settings, key). Text is printed as it is, values with four digits.
    """
    sections = [
        f"# {metadata.get('title') or metadata['file']}",
        _contract(metadata),
        _loading(metadata),
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
    width = f", width {metadata['width']}" if metadata["arch"] == "resnet18_small" else ""
    sigma = metadata["train_sigma"]
    lines = [
        "## Input and output",
        "",
        f"- network: {metadata['arch']}{width}, {metadata['num_classes']} classes, keys as in torchvision",
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
    classes, width = metadata["num_classes"], metadata["width"]
    if metadata["arch"] == "resnet18_small":
        build = [f'network = robust_transfer.models.backbone("resnet18_small", {classes}, {width})']
    else:
        build = [f"network = torchvision.models.{metadata['arch']}(num_classes={max(classes, 1)})"]
        build += ["network.fc = torch.nn.Identity()  # the weights have no head"] if not classes else []
    mean, std = json.dumps(metadata["mean"]), json.dumps(metadata["std"])
    return "\n".join(
        [
            "## Loading",
            "",
            "```python",
            read,
            *build,
            "network.load_state_dict(state)",
            "network.eval()",
            f"normalize = torchvision.transforms.Normalize({mean}, {std})",
            "logits = network(normalize(images))  # images in [0, 1]",
            "```",
        ]
    )


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
