"""The method: its loss."""

from robust_transfer.objectives.objective import Objective, classify


class Dimmed(Objective):
    """Cross-entropy on images times `strength`."""

    def __init__(self, config):
        self.strength = config.strength

    def __call__(self, model, batch, noise, progress):
        """Return the loss and the training accuracy."""
        loss, accuracy = classify(model(self.strength * batch.images[0]), batch.labels)
        return loss, {"accuracy": accuracy}
