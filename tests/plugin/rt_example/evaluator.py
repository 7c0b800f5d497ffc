"""The evaluator: it journals a prediction an image, and its records follow from the journal."""

import torch

from robust_transfer.evaluation.clean import CleanEvaluator


class Mirrored(CleanEvaluator):
    """Predict every image as a mirror shows it."""

    def measure(self, context, images, rows, journal):
        """Predict the images."""
        for first in range(0, len(images), self.config.batch_size):
            pixels = images[first : first + self.config.batch_size].to(context.device).flip(-1)
            with torch.inference_mode():
                predictions = context.model(pixels).argmax(1).tolist()
            indices = images.indices[first : first + len(predictions)].tolist()
            journal.append(zip(indices, predictions, strict=True))
            context.progress.step(len(predictions))
