"""What attacks raise, by hand: functions of the scores (..., B) of a `line`, summed over the images."""

import torch


def log_softmax(scores, classes=2):
    """Of logits (s, -s, -s, ...)."""
    logits = torch.stack((scores, *[-scores] * (classes - 1)), -1)
    return logits - logits.exp().sum(-1, keepdim=True).log()


def cross_entropy(scores, labels, classes=2):
    logs = log_softmax(scores, classes)
    return -sum(logs[..., i, label] for i, label in enumerate(labels.tolist()))


def divergence(scores, clean):
    log_p = log_softmax(clean)
    return (log_p.exp() * (log_p - log_softmax(scores))).sum((-2, -1))


def smoothed_loss(scores, labels, shifts):
    """-log of the mean softmax over copies, whose scores noise shifts by (B,) each."""
    votes = sum(log_softmax(scores + shift).exp() for shift in shifts) / len(shifts)
    return -sum(votes[..., i, label].log() for i, label in enumerate(labels.tolist()))


def cosine(a, b):
    """Of features (a, 1) and (b, 1)."""
    return (a * b + 1) / ((a * a + 1) * (b * b + 1)).sqrt()


def distance(scores, teacher):
    return -sum(cosine(scores[..., i], goal) for i, goal in enumerate(teacher))


def contrast(scores, temperature):
    """NT-Xent; the second half of the scores (..., 2 B) are the partners of the first."""
    count, total = scores.shape[-1], 0.0
    for i in range(count):
        powers = [(cosine(scores[..., i], scores[..., k]) / temperature).exp() for k in range(count)]
        others = sum(power for k, power in enumerate(powers) if k != i)
        total = total - (powers[(i + count // 2) % count] / others).log()
    return total
