"""What all tests share: one thread, a stand-in for MNIST, no trace of plug-ins."""

import sys
from collections.abc import Iterator
from fnmatch import fnmatch

import numpy as np
import pytest
import torch

import models
import tasks
from bench.plan import plugins as loaded
from tasks import _files, _likelihood, _mnist

torch.set_num_threads(1)

SLOW = (
    "tests/compare/*",
    "tests/faults/*",
    "tests/measure/test_checkpoint.py*",
    "tests/measure/test_export.py*",
    "tests/measure/test_samples.py*",
    "tests/measure/test_speed.py*",
    "tests/measure/test_train.py*",
    "tests/measure/test_weights.py*",
    "tests/measure/test_yardsticks.py*",
    "tests/models/test_generate.py*",
    "tests/models/test_stepper.py*",
    "tests/plan/test_plugins.py*",
    "tests/report/test_browser.py*",
    "tests/report/test_claims.py*",
    "tests/report/test_cost.py*",
    "tests/report/test_facets.py*",
    "tests/report/test_findings.py*",
    "tests/report/test_published.py*",
    "tests/report/test_report.py*",
    "tests/report/test_sections.py*",
    "tests/run/*",
    "tests/tasks/test_downloads.py*",
    "tests/tasks/test_mnist.py*",
    "tests/test_cli.py*",
    "tests/test_docs.py*",
    "tests/test_readme.py*",
    "*after_training*",
    "*holds_the_true_horizon*",
    "*profiles_hold_what_they_promise*",
    "*the_budget_is_met*",
    "*the_formula_counts*",
    "*the_real_mnist*",
    "*threads_and_processes*",
    "*training_does_not_import*",
)
"""Tests that train, compile, draw or start processes, by name: `make test-fast` leaves them out."""


@pytest.fixture
def stand_in_mnist(monkeypatch: pytest.MonkeyPatch) -> Iterator[_files.Mnist]:
    """Random images of MNIST's shape but fewer, for tests of everything but the data."""
    random = np.random.default_rng(0)

    def images(n: int) -> np.ndarray:
        return random.integers(0, 256, (n, 28, 28), dtype=np.uint8)

    def labels(n: int) -> np.ndarray:
        return random.integers(0, 10, n, dtype=np.uint8)

    mnist = _files.Mnist(
        train_images=images(5_200),
        train_labels=labels(5_200),
        test_images=images(300),
        test_labels=labels(300),
    )
    monkeypatch.setattr(_mnist, "load_mnist", lambda: mnist)
    monkeypatch.setattr(_mnist, "mnist_files", dict)
    caches = (_mnist.images, _mnist.levels, _mnist.drawn, _likelihood.baselines_of)
    for cache in caches:
        cache.cache_clear()
    yield mnist
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="session")
def real_mnist() -> None:
    """Skips where the files are neither in MNIST_DIR nor in the cache."""
    try:
        _files.mnist_files(mirrors=(), deadline_s=0.0)
    except tasks.DataUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def plugins() -> Iterator[None]:
    """Forget afterwards what plug-ins were loaded."""
    modules = set(sys.modules)
    yield
    for registry in (tasks._plugins, models._plugins, loaded._files):
        registry.clear()
    for name in set(sys.modules) - modules:
        # Libraries that were imported for the first time must stay: they exist only once.
        file = getattr(sys.modules[name], "__file__", None) or ""
        if "." not in name and file and "site-packages" not in file:
            del sys.modules[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(fnmatch(item.nodeid, pattern) for pattern in SLOW):
            item.add_marker(pytest.mark.slow)
