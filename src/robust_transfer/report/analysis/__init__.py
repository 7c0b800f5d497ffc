"""Estimates, intervals and tests over runs."""
