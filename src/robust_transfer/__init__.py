"""Robust transfer learning: pre-train, fine-tune robustly, attack and certify image classifiers."""
