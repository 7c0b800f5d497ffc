import os
import subprocess
import sys

CODE = """
import sys, time
from pathlib import Path
from robust_transfer.cli.gpu_claim import claim, visible_gpus
print(claim(Path(sys.argv[1]), visible_gpus()), claim(Path(sys.argv[1]), visible_gpus()), flush=True)
sys.stdin.read()
"""


def worker(folder):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(folder)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "3,5"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_every_worker_claims_a_gpu_of_its_own_and_keeps_it(tmp_path):
    workers = [worker(tmp_path) for _ in range(3)]
    try:
        found = [process.stdout.readline().split() for process in workers]
        assert sorted(found) == [["3", "3"], ["5", "5"], ["None", "None"]]
    finally:
        for process in workers:
            process.communicate("")


def test_a_gpu_is_free_again_when_its_worker_ends(tmp_path):
    for _ in range(2):
        process = worker(tmp_path)
        assert process.stdout.readline().split() == ["3", "3"]
        process.kill()
        process.communicate()
