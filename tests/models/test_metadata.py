import subprocess
import sys

from robust_transfer.models import build_model, save_model


def test_metadata_is_read_without_torch(tmp_path):
    model = build_model(
        "resnet18_small", num_classes=2, class_names=["a", "b"], image_size=8, width=1, seed=0
    )
    save_model(tmp_path / "model.safetensors", model, key="k")
    script = (
        "import sys; from robust_transfer.models.metadata import read_metadata;"
        "metadata = read_metadata(sys.argv[1]); print(sorted(metadata.items()));"
        "assert not {'torch', 'safetensors'} & sys.modules.keys()"
    )
    command = [sys.executable, "-c", script, tmp_path / "model.safetensors"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    expected = {
        "arch": "resnet18_small",
        "class_names": ["a", "b"],
        "image_size": 8,
        "key": "k",
        "mean": [0.485, 0.456, 0.406],
        "num_classes": 2,
        "std": [0.229, 0.224, 0.225],
        "train_sigma": None,
        "width": 1,
    }
    assert printed.strip() == repr(sorted(expected.items()))
