"""Checks of an attack: its inputs, the model, its gradients, and the result beside other attacks."""
