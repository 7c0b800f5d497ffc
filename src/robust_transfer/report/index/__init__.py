"""From the stages of a store to runs, cells and per-image values."""
