"""Stage directories on disk: whole files, locks, journals, provenance."""
