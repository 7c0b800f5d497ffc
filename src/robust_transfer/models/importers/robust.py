"""Formats of robust training: MadryLab's robustness, randomised smoothing, RobustBench."""

from __future__ import annotations

import re
from collections.abc import Callable

from robust_transfer.models.importers.formats import WRAPPERS, Format, View, has_key, imagenet_if_thousand


def _robustness(view: View) -> bool:
    return has_key(view.tensors, r"(^|\.)(attacker\.model\.|normalizer\.new_mean$)")


def _smoothing(view: View) -> bool:
    return all(re.match(WRAPPERS + r"1\.", key) for key in view.tensors)


def _smoothing_normalize(view: View) -> str | None:
    """Its normalisation layer is not in the file: the architecture's name tells CIFAR from ImageNet."""
    if str(view.top.get("arch", "")).startswith("cifar"):
        return "cifar"
    return imagenet_if_thousand(view)


def _robustbench(view: View) -> bool:
    """Statistics beside `model.`; beside bare layers they are of a network that normalises by itself."""
    below = has_key(view.tensors, r"^" + WRAPPERS + r"model\.")
    return below and has_key(view.tensors, r"(^|\.)normalize\.mean$")


# Engstrom et al. 2019; Salman et al. 2020, arXiv:2007.08489. The attacker holds a second copy of the weights.
ROBUSTNESS = Format(
    name="robustness",
    root=WRAPPERS + r"model\." + WRAPPERS,
    matches=_robustness,
    normalize=lambda view: None,
    paths=("model", "state_dict", ""),
)

# Cohen et al. 2019, arXiv:1902.02918; Jeong & Shin 2020, arXiv:2006.04062: Sequential(normalise, network).
SMOOTHING = Format(
    name="smoothing",
    root=WRAPPERS + r"1\." + WRAPPERS,
    matches=_smoothing,
    normalize=_smoothing_normalize,
    paths=("state_dict", ""),
)


def _dual_batchnorm(view: View) -> bool:
    return has_key(view.tensors, r"\.bn_list\.1\.")


def _robust_ssl(name: str, taken: int, matches: Callable[[View], bool] | None) -> Format:
    """Return the format that takes one of two BatchNorms; the other's tensors are left out."""
    return Format(
        name=name,
        root=WRAPPERS + r"(?:(?:backbone|encoder|model)\.)?" + WRAPPERS,
        matches=matches,
        normalize=lambda view: None,
        rename=(
            (r"^(layer\d\.\d+\.downsample)\.conv\.", r"\1.0."),
            (r"^(layer\d\.\d+\.downsample)\.bn\.", r"\1.1."),
            (rf"\.bn_list\.{taken}\.", "."),
            (r"^(.*\.bn_list\.)", r"other.\1"),
        ),
    )


# Jiang et al. 2020, arXiv:2010.13337 (ACL) and its heirs: clean images pass each layer's first BatchNorm,
# adversarial ones its second.
ROBUST_SSL = _robust_ssl("robust-ssl", 1, _dual_batchnorm)
ROBUST_SSL_CLEAN = _robust_ssl("robust-ssl-clean", 0, None)

# Croce et al. 2021, arXiv:2010.09670: Sequential(normalize=..., model=...), as its load_model returns it.
ROBUSTBENCH = Format(
    name="robustbench",
    root=WRAPPERS + r"model\." + WRAPPERS,
    matches=_robustbench,
    normalize=lambda view: None,
)
