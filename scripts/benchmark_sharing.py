"""How evenly mode `decide` keeps several devices busy: samples of the busiest one, simulated.

    python scripts/benchmark_sharing.py --recorded results/methods_mini/stages.tar.xz [--json FILE]

500 images in the spreads of benchmark_samples.py, on 8 devices, in whole forwards of 200 samples. The
library's own functions share out the samples at every interim analysis; beside that stands what dealing out
images in turn costs, where a device has an image to the end. All devices count as equally fast.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from benchmark_samples import ALPHA, DEVIATIONS, Counts, N, decided, recorded_spread, recorded_votes, spread
from measured import compared, save

from robust_transfer.evaluation.sharing import SAMPLES_AT_ONCE, groups, share
from robust_transfer.smoothing.counts import Unit
from robust_transfer.smoothing.stopping import interim_analyses

NUM_DEVICES, NUM_IMAGES, FORWARD = 8, 500, 200


def busiest_shared(samples: Counts) -> int:
    """Return the samples of the busiest device, summed over the exchanges, if all work is shared out."""
    before, total = 0, 0
    for analysis in interim_analyses("decide", n=N, alpha=ALPHA):
        waiting = np.flatnonzero(samples >= analysis.samples)
        units = [Unit(i, i, before, analysis.samples) for i in waiting.tolist()]
        for group in groups(units, SAMPLES_AT_ONCE * NUM_DEVICES):
            total += max(whole_forwards(share(group, rank, NUM_DEVICES)) for rank in range(NUM_DEVICES))
        before = analysis.samples
    return total


def whole_forwards(units: list[Unit]) -> int:
    return -(-sum(unit.stop - unit.start for unit in units) // FORWARD) * FORWARD


def busiest_in_turn(samples: Counts) -> int:
    """Return the samples of the busiest device if images are dealt out in turn."""
    return max(int(samples[device::NUM_DEVICES].sum()) for device in range(NUM_DEVICES))


def main() -> None:
    """Simulate, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--recorded", type=Path, help="stages.tar.xz of packed results, for its spread too")
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    draws = {name: partial(spread, deviation=z) for name, z in DEVIATIONS.items()}
    if options.recorded:
        votes = recorded_votes(options.recorded)
        name = f"votes of {len(votes):,} certificates in {options.recorded.parent.name}"
        draws[name] = partial(recorded_spread, votes=votes)
    rows = []
    for name, draw in draws.items():
        samples = [decided(draw(seed, NUM_IMAGES)).samples for seed in range(options.seeds)]
        shared = [busiest_shared(found) for found in samples]
        what = f"decide on {NUM_DEVICES} devices, {NUM_IMAGES} images, {name}"
        for peer, costs in (
            ("the floor: as many samples for every device", [found.sum() / NUM_DEVICES for found in samples]),
            ("images dealt out in turn", [busiest_in_turn(found) for found in samples]),
        ):
            rows.append(
                compared(what, "samples shared out at every analysis", peer, costs, shared, bound=True)
            )
            print(" | ".join(str(value) for value in rows[-1].values()))
    if options.json:
        save(options.json, rows)


if __name__ == "__main__":
    main()
