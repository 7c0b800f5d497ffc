"""Pack what tables and findings are made from: records, summaries and settings of a store.

    python scripts/pack_results.py STORE results/NAME/stages.tar.xz [--pretrained]

Unpacked, the archive is a store: `rt-report table N --store DIR` makes the same table from it, and
`rt-report verify KEY --store DIR` computes an evaluation again from its journals. It holds no weights, or
those of small pre-trained networks, from which a later sweep can fine-tune more.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from pathlib import Path

from robust_transfer.store import directories

KEPT = ("config.yaml", "env.json", "status.json", "records.csv", "summary.json", "journal.*.csv")
WEIGHTS = "model.safetensors"


def pack(store: Path, archive: Path, *, pretrained: bool) -> int:
    """Write the finished stages of `store` to an archive, with the pre-trained networks or without.

    Returns how many stages there are.
    """
    done = [
        stage
        for stage in directories.scan(store)
        if stage.status().state == directories.DONE and not stage.changed()
    ]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz") as packed:
        kept = {
            stage: (*KEPT, *([WEIGHTS] if pretrained and stage.kind == "pretrain" else [])) for stage in done
        }
        for path in sorted(
            path for stage, names in kept.items() for name in names for path in stage.path.glob(name)
        ):
            content = path.read_bytes()
            member = tarfile.TarInfo(str(path.relative_to(store)))  # without dates: equal stages, equal bytes
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return len(done)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--pretrained", action="store_true", help="with the weights of pre-trained networks")
    options = parser.parse_args()
    count = pack(options.store, options.archive, pretrained=options.pretrained)
    print(f"{count} stages, {options.archive.stat().st_size / 1e6:.2f} MB")
