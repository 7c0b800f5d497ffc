"""From records to tables, figures and verdicts; nothing here imports torch."""
