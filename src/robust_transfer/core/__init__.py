"""Foundations that every other package may use: errors, keyed randomness, statistics, progress."""
