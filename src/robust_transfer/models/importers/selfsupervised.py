"""Formats of self-supervised pre-training: a mapping table each."""

from __future__ import annotations

from robust_transfer.models.importers.formats import (
    NUMBERS,
    WRAPPERS,
    Format,
    View,
    always,
    has_key,
    imagenet_if_thousand,
)


def _backbone(view: View) -> bool:
    return has_key(view.tensors, r"^" + WRAPPERS + r"backbone\.")


def _projected_only(view: View) -> bool:
    return has_key(view.tensors, r"(^|\.)projector\.")


def _lightly_parts(view: View) -> bool:
    return has_key(view.tensors, r"(^|\.)(projection_head|prediction_head|online_classifier)\.")


def _solo_learn(view: View) -> bool:
    """Ask for a projector or a momentum copy: an `encoder` or a `backbone` alone could be any format's."""
    encoder = _backbone(view) or has_key(view.tensors, r"^" + WRAPPERS + r"encoder\.")
    marked = _projected_only(view) or has_key(
        view.tensors, r"^" + WRAPPERS + r"momentum_(backbone|encoder)\."
    )
    return encoder and marked and not _lightly_parts(view)


def _lightly(view: View) -> bool:
    return _backbone(view) and _lightly_parts(view)


def _imagenet_if_large_stem(view: View) -> str | None:
    """Infer nothing from a 3x3 stem: for small images these projects take statistics per data set."""
    stems = [t for key, t in view.tensors.items() if t.ndim == 4 and t.shape[1] == 3]
    return "imagenet" if all(stem.shape[-1] == 7 for stem in stems) else None


def _vissl(view: View) -> bool:
    return has_key(view.tensors, r"(^|\.)_feature_blocks\.")


def _moco(view: View) -> bool:
    return has_key(view.tensors, r"^" + WRAPPERS + r"(encoder_q|base_encoder)\.")


def _simclr_v2(view: View) -> bool:
    return {"resnet", "head"} <= view.top.keys()


# da Costa et al. 2022. `encoder.` is the name of its versions before 1.0.
SOLO_LEARN = Format(
    name="solo-learn",
    root=WRAPPERS + r"(?:backbone|encoder)\." + WRAPPERS,
    matches=_solo_learn,
    normalize=_imagenet_if_large_stem,
    paths=("state_dict", ""),
    classifier="/classifier.",
)

# Its examples cut the head off by Sequential(*children), which turns names into numbers.
LIGHTLY = Format(
    name="lightly",
    root=WRAPPERS + r"backbone\." + WRAPPERS,
    matches=_lightly,
    normalize=_imagenet_if_large_stem,
    rename=NUMBERS,
    paths=("state_dict", ""),
    classifier="/online_classifier.classification_head.",
)

# MMPreTrain: a backbone and a head of its own. Its statistics are in a configuration file.
MMPRETRAIN = Format(
    name="mmpretrain",
    root=WRAPPERS + r"backbone\." + WRAPPERS,
    matches=lambda view: _backbone(view) and has_key(view.tensors, r"^" + WRAPPERS + r"head\.fc\.weight$"),
    normalize=imagenet_if_thousand,
    paths=("state_dict", ""),
    classifier="/head.fc.",
)

# Goyal et al. 2021.
VISSL = Format(
    name="vissl",
    root=r"(?:[\w.]*\.)?_feature_blocks\.",
    matches=_vissl,
    normalize=always("imagenet"),
    paths=("classy_state_dict.base_model.model.trunk", "model_state_dict", "state_dict", ""),
    classifier=None,
)

# He et al. 2020, arXiv:1911.05722; `base_encoder` is version 3. The other encoder is the momentum copy.
MOCO = Format(
    name="moco",
    root=WRAPPERS + r"(?:encoder_q|base_encoder)\." + WRAPPERS,
    matches=_moco,
    normalize=always("imagenet"),
    paths=("state_dict", ""),
    classifier=None,
)

# Chen et al. 2020, arXiv:2006.10029, converted to PyTorch; of width 1 without selective kernels (r50_1x_sk0).
SIMCLR_V2 = Format(
    name="simclr-v2",
    root="",
    matches=_simclr_v2,
    normalize=always("none"),
    rename=(
        (r"^net\.0\.0\.(\w+)$", r"conv1.\1"),
        (r"^net\.0\.1\.0\.(\w+)$", r"bn1.\1"),
        (r"^net\.(\d)\.blocks\.(\d+)\.projection\.shortcut\.(\w+)$", r"layer\1.\2.downsample.0.\3"),
        (r"^net\.(\d)\.blocks\.(\d+)\.projection\.bn\.0\.(\w+)$", r"layer\1.\2.downsample.1.\3"),
        (r"^net\.(\d)\.blocks\.(\d+)\.net\.0\.(\w+)$", r"layer\1.\2.conv1.\3"),
        (r"^net\.(\d)\.blocks\.(\d+)\.net\.1\.0\.(\w+)$", r"layer\1.\2.bn1.\3"),
        (r"^net\.(\d)\.blocks\.(\d+)\.net\.2\.(\w+)$", r"layer\1.\2.conv2.\3"),
        (r"^net\.(\d)\.blocks\.(\d+)\.net\.3\.0\.(\w+)$", r"layer\1.\2.bn2.\3"),
        (r"^net\.(\d)\.blocks\.(\d+)\.net\.4\.(\w+)$", r"layer\1.\2.conv3.\3"),
        (r"^net\.(\d)\.blocks\.(\d+)\.net\.5\.0\.(\w+)$", r"layer\1.\2.bn3.\3"),
    ),
    paths=("resnet",),
)
