"""The model card: what the weights are, how they are loaded, what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def model_card(facts: Mapping[str, Any]) -> str:
    """Return a model card in Markdown.

    Parameters
    ----------
    facts : arch, width, num_classes, class_names, image_size, mean, std, train_sigma, key, file and plain
        describe the weights. Optional, left out of the card where absent: title, data, licence, recipe,
        threat_model, commit (text); results (list of dicts: evaluator, metric, value in 0..1 or a radius,
        num_images, interval [low, high], settings, key). Text is printed as it is, values with four digits.
    """
    sections = [
        f"# {facts.get('title') or facts['file']}",
        _contract(facts),
        _loading(facts),
        *(
            f"## {heading}\n\n{facts[name]}"
            for heading, name in (
                ("Data", "data"),
                ("Licence", "licence"),
                ("Recipe", "recipe"),
                ("Threat model", "threat_model"),
            )
            if facts.get(name)
        ),
        _results(facts.get("results") or []),
        _origin(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _contract(facts: Mapping[str, Any]) -> str:
    width = f", width {facts['width']}" if facts["arch"] == "resnet18_small" else ""
    sigma = facts["train_sigma"]
    lines = [
        "## Input and output",
        "",
        f"- network: {facts['arch']}{width}, {facts['num_classes']} classes, keys as in torchvision",
        "- input: RGB, (B, 3, H, W), float in [0, 1], trained at "
        f"{facts['image_size']} x {facts['image_size']} pixels",
        f"- normalisation, the first step inside the model: mean {facts['mean']}, std {facts['std']}",
        f"- Gaussian noise in training: {'not known' if sigma is None else f'sigma {sigma} in [0, 1] units'}",
    ]
    if facts["class_names"]:
        lines.append(f"- classes in order: {', '.join(facts['class_names'])}")
    return "\n".join(lines)


def _loading(facts: Mapping[str, Any]) -> str:
    if facts["plain"]:
        read = f'state = torch.load("{facts["file"]}", weights_only=True)'
    else:
        read = f'state = safetensors.torch.load_file("{facts["file"]}")'
    classes, width = facts["num_classes"], facts["width"]
    if facts["arch"] == "resnet18_small":
        build = [f'network = robust_transfer.models.backbone("resnet18_small", {classes}, {width})']
    else:
        build = [f"network = torchvision.models.{facts['arch']}(num_classes={max(classes, 1)})"]
        build += ["network.fc = torch.nn.Identity()  # the weights have no head"] if not classes else []
    mean, std = json.dumps(facts["mean"]), json.dumps(facts["std"])
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


def _origin(facts: Mapping[str, Any]) -> str:
    lines = [f"- {name}: {facts[name]}" for name in ("key", "commit") if facts.get(name)]
    return "\n".join(["## Origin", "", *lines]) if lines else ""
