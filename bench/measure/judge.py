"""Checks that samples match their condition, with a classifier trained on real sequences.

Shape letters: B sequences, T steps.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.intervals import wilson
from bench.core.records import Agreement
from tasks import Task

HIDDEN = 256
NUM_STEPS, BATCH = 4000, 128
LEARNING_RATE = 1e-3
DROPOUT = 0.2


def agreement(task: Task, y_BT: Tensor, condition_B: Tensor) -> Agreement:
    """Agreement of sampled ids (B, T) with the classes (B,) they were conditioned on."""
    classifier = _classifier(task)
    right = int((_classes(classifier, task, y_BT) == condition_B).sum())
    num_real = num_right = 0
    for batch in task.evaluation("test", 0, 500):
        assert batch.condition is not None
        num_real += len(batch)
        num_right += int((_classes(classifier, task, batch.y) == batch.condition).sum())
    low, high = wilson(right, len(y_BT))
    return Agreement(
        share=right / len(y_BT),
        low=low,
        high=high,
        num_samples=len(y_BT),
        on_real=num_right / num_real,
    )


@lru_cache(maxsize=2)
def _classifier(task: Task) -> nn.Module:
    """A network with one hidden layer, trained on whole sequences of the task's training stream."""
    generator = task.generator("train", 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = nn.Sequential(
            nn.Linear(task.signature.num_steps, HIDDEN),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, task.signature.num_conditions),
        )
        optimizer = torch.optim.Adam(classifier.parameters(), LEARNING_RATE)
        for step in range(NUM_STEPS):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / NUM_STEPS)
            batch = task.sample(BATCH, generator)
            assert batch.condition is not None
            loss = F.cross_entropy(classifier(_read(task, batch.y)), batch.condition)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


def _read(task: Task, y_BT: Tensor) -> Tensor:
    """Ids scaled to [0, 1], (B, T)."""
    return y_BT / (task.signature.num_outputs - 1)


@torch.inference_mode()
def _classes(classifier: nn.Module, task: Task, y_BT: Tensor) -> Tensor:
    return classifier(_read(task, y_BT)).argmax(1)
