"""One torch thread: two threads on two busy cores run up to ten times slower."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
