"""Combinations of switches between which every pair of two switches' values stands."""

import itertools


def pairs_of(**choices):
    """Yield the first few rows that hold every pair of values of two names."""
    rows = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    wanted = set().union(*map(pairs_in, rows))
    while wanted:
        best = max(rows, key=lambda row: len(wanted & pairs_in(row)))
        wanted -= pairs_in(best)
        yield best


def pairs_in(row):
    """Return the pairs of values, each with its name, of one row."""
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
