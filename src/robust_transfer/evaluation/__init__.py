"""Evaluators over a data set: shards, journals, resume, one record per image."""
