"""The training engine: the one loop, its optimisers and schedules, checkpoints, loggers."""
