"""Pack what tables and findings are made from: records, summaries and settings of a store, without weights.

    python scripts/pack_results.py STORE results/NAME/stages.tar.xz

Unpacked, the archive is a store: `rt-report table N --store DIR` makes the same table from it.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

from robust_transfer.store import directories

KEPT = ("config.yaml", "env.json", "status.json", "records.csv", "summary.json")


def pack(store: Path, archive: Path) -> int:
    """Write the finished stages of `store` to an archive; return how many there are."""
    done = [
        stage
        for stage in directories.scan(store)
        if stage.status().state == directories.DONE and not stage.changed()
    ]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz") as packed:
        for path in sorted(stage.path / name for stage in done for name in KEPT):
            if path.exists():
                content = path.read_bytes()
                member = tarfile.TarInfo(
                    str(path.relative_to(store))
                )  # without dates: equal stages, equal bytes
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    return len(done)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    count = pack(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{count} stages, {Path(sys.argv[2]).stat().st_size / 1e6:.2f} MB")
