"""Softmax regression on scikit-learn's digits, in numpy; image k belongs to partition k mod n."""

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

Floats = npt.NDArray[np.float64]
Arrays = list[npt.NDArray[np.float32]]


def initial_arrays() -> Arrays:
    """Weight and bias of a model that knows nothing."""
    return [np.zeros((64, 10), np.float32), np.zeros(10, np.float32)]


def load(partition: int, partitions: int, held_out: bool) -> tuple[Floats, Floats]:  # noqa: FBT001 - as short as a quickstart
    """Images, shape (n, 64) in [0, 1], and one-hot labels, shape (n, 10), of one partition."""
    images, labels = load_digits(return_X_y=True)
    rows = np.arange(partition, len(labels), partitions)
    rows = rows[::5] if held_out else np.delete(rows, slice(None, None, 5))
    return images[rows] / 16.0, np.eye(10)[labels[rows]]


def train(arrays: Arrays, images: Floats, labels: Floats, rate: float, steps: int = 20) -> float:
    """Gradient descent in place on the cross-entropy; returns the last loss, in nats."""
    loss = 0.0
    for _ in range(steps):
        loss, error = _loss_and_error(arrays, images, labels)
        arrays[0] -= (rate * images.T @ error / len(images)).astype(np.float32)
        arrays[1] -= (rate * error.mean(axis=0)).astype(np.float32)
    return loss


def test(arrays: Arrays, images: Floats, labels: Floats) -> tuple[float, float]:
    """Cross-entropy, in nats, and accuracy."""
    loss, error = _loss_and_error(arrays, images, labels)
    right = (error + labels).argmax(axis=1) == labels.argmax(axis=1)
    return loss, float(right.mean())


def _loss_and_error(arrays: Arrays, images: Floats, labels: Floats) -> tuple[float, Floats]:
    logits = images @ arrays[0] + arrays[1]
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log((probabilities * labels).sum(axis=1)).mean()
    return float(loss), probabilities - labels
