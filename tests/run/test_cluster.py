"""Runs on a Ray cluster: the same records as on one machine, also if nodes are lost."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.core.backend import Backend
from bench.core.errors import RequestError
from bench.core.machine import fingerprint
from bench.run import cluster
from tests.support.commands import PROFILE, ROOT, records, wait_for_records, without_times

faults = pytest.mark.faults
LIMIT_S = 300.0
"""Time limit for anything that may be slow on a busy machine."""

NODES = """
import json, sys
from ray.cluster_utils import Cluster

size = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
second = cluster.add_node(**size)
raylet = second.all_processes["raylet"][0].process.pid
print(json.dumps([cluster.address, str(raylet)]), flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
        print(json.dumps("killed"), flush=True)
cluster.shutdown()
"""
"""Starts two nodes on this machine; the line `kill` kills the second."""

PLUGIN = '''
"""Copy memory that logs its node, is slow, and fails in a different way at each length."""
import ctypes
import os
import signal
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from tasks import DataUnavailable
from tasks.copy_memory import CopyMemory


def above(pid):
    """Id and name of the parent process."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return parent, Path(f"/proc/{parent}/comm").read_text().strip() if parent else "none"


@cache
def worker_and_node():
    """Ids of Ray's worker process for this run and of its node; 0 without Ray."""
    pid = os.getpid()
    while True:
        parent, name = above(pid)
        if name in ("raylet", "none"):
            return pid, parent
        pid = parent


@cache
def log_node():
    with open("BEGUN", "a") as file:
        file.write(f"{worker_and_node()[1]}\\n")


@dataclass(frozen=True, kw_only=True)
class Slow(CopyMemory):
    version = 1
    smallest: ClassVar = {"length": 3}
    lengths: ClassVar = (3,)

    def sample(self, n, generator, split="train"):
        if split == "train":
            log_node()
            time.sleep(0.02)
            if self.length == 11:
                ctypes.string_at(0)
            if self.length == 12:
                raise RuntimeError("no luck")
            if self.length == 13:
                time.sleep(600)
            if self.length == 14:
                raise DataUnavailable([("a mirror", "no answer")], "wait")
            if self.length == 15:
                os.kill(worker_and_node()[0], signal.SIGKILL)
                time.sleep(600)
        return super().sample(n, generator, split)
'''


@pytest.mark.parametrize("address", ["nonsense", "host:port", "ray://host:1", ":1", "host:"])
def test_an_invalid_address_is_refused(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--ray", address]) == 2
    assert capsys.readouterr().err == f"error: --ray: {address!r}; valid: auto, HOST:PORT\n"


def test_without_ray_one_line_tells_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if Ray were not installed
    assert main(["tune", "--ray", "auto"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --ray: Ray is not installed")
    assert cluster.INSTALL in error
    assert "\ncluster = [" in (ROOT / "pyproject.toml").read_text()
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("backend", "per_gpu", "slots"),
    [
        (Backend(device="cpu"), 1, 8 + 2),
        (Backend(device="cpu", threads=4), 1, 2),
        (Backend(device="cuda"), 1, 2),
        (Backend(device="cuda"), 3, 6),
        (Backend(device="cuda"), 8, 8),  # as many as there are cores
        (Backend(device="cuda", threads=4), 3, 2),
    ],
)
def test_a_node_takes_as_many_runs_as_it_has_room_for(
    backend: Backend, per_gpu: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [{"CPU": 8.0, "GPU": 2.0, "memory": 2.0**30}, {"CPU": 2.0}, {"memory": 2.0**30}]
    monkeypatch.setattr(cluster, "_nodes", lambda: nodes)
    assert cluster.num_slots(backend, per_gpu) == slots
    assert cluster.gpus() == ("cuda:0",)
    monkeypatch.setattr(cluster, "_nodes", lambda: nodes[1:])
    assert cluster.gpus() == ()


def test_a_cluster_without_room_for_a_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_nodes", lambda: [{"CPU": 8.0}])
    with pytest.raises(RequestError, match=r"no node .* has what a run needs: 1 CPU and 0\.5 GPU"):
        cluster.num_slots(Backend(device="cuda"), 2)


class Nodes:
    """A cluster of two nodes, and the environment of processes that connect to it."""

    def __init__(self, folder: Path) -> None:
        self.variables = {
            **os.environ,
            "HOME": str(folder),  # Ray keeps a token there
            "RAY_TMPDIR": str(folder),
            "TMPDIR": str(folder),  # so that files of killed workers are removed
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", NODES],
            env=self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address, self.second = self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                return json.loads(line)
        raise AssertionError("the cluster has ended")

    def kill_one(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.answer() == "killed"

    @contextlib.contextmanager
    def bench(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-m", "bench", "run", "--ray", self.address, *arguments],
            cwd=ROOT,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    # A short path, since paths of Ray's sockets have at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    found = Nodes(folder)
    yield found
    found.process.communicate("", timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def selected(tmp_path: Path) -> list[str]:
    """Options for eight runs of two seconds; `--shard` avoids the report, which is slow."""
    plugin, profile = tmp_path / "slow.py", tmp_path / "few.toml"
    plugin.write_text(PLUGIN.replace("BEGUN", str(tmp_path / "begun")))
    content = PROFILE.format(steps=100).replace('"copy_memory"', '"slow"')
    profile.write_text(content + "keep_weights = true\n")
    settings = ["--set", "validate_every=10", "--set", "stop_when_solved=false"]
    chosen = ["--device", "cpu", "--profile", str(profile), "--plugin", str(plugin)]
    return [*chosen, *settings, "--shard", "1/1"]


def begun(tmp_path: Path) -> list[str]:
    """The node of every run that has begun."""
    file = tmp_path / "begun"
    return file.read_text().split() if file.exists() else []


@faults
@pytest.mark.usefixtures("plugins")
def test_lost_nodes_and_interruptions_cost_no_run_and_change_no_record(
    nodes: Nodes, selected: list[str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    arguments = [*selected, "--results", str(results)]

    for number, (sent, status) in enumerate(((signal.SIGINT, 130), (signal.SIGTERM, 143)), 1):
        with nodes.bench(*arguments) as bench:
            wait_for_records(results, number, limit_s=LIMIT_S)
            bench.send_signal(sent)
            _, error = bench.communicate(timeout=LIMIT_S)
        assert bench.returncode == status, error
        assert "the same command continues" in error
        assert "Traceback" not in error
    kept = {path: path.stat().st_mtime_ns for path in results.rglob("runs/**/*.json")}
    assert 2 <= len(kept) < 7

    (tmp_path / "begun").unlink()
    with nodes.bench(*arguments) as bench:
        wait_for_records(results, len(kept) + 1, limit_s=LIMIT_S)
        before = begun(tmp_path).count(nodes.second)
        while begun(tmp_path).count(nodes.second) == before:
            assert bench.poll() is None
            time.sleep(0.05)
        nodes.kill_one()
        _, error = bench.communicate(timeout=LIMIT_S)
    assert bench.returncode == 0, error
    for path, written in kept.items():
        assert path.stat().st_mtime_ns == written  # no run was repeated
    assert len(set(begun(tmp_path))) == 2
    assert len(begun(tmp_path)) > 8 - len(kept)  # the run of the lost node has begun again

    on_cluster = records(results)
    assert len(on_cluster) == 8
    assert {record.machine.commit for record in on_cluster.values()} == {fingerprint().commit}
    alone = tmp_path / "alone"
    assert main(["run", *selected, "--results", str(alone)]) == 0
    whole = {key: without_times(record) for key, record in records(alone).items()}
    assert {key: without_times(record) for key, record in on_cluster.items()} == whole
    kept_weights = [path.relative_to(alone) for path in alone.rglob("weights/**/*.safetensors")]
    assert len(kept_weights) == 8
    for path in kept_weights:
        assert (results / path).read_bytes() == (alone / path).read_bytes()


@faults
def test_a_run_that_fails_on_a_node_harms_no_other(
    nodes: Nodes, selected: list[str], tmp_path: Path
) -> None:
    lengths = [f"--length={length}" for length in (3, 11, 12, 13, 14, 15)]
    alike = ["--model", "rnn", "--seed", "0", "--run-timeout", "0.5", *lengths]
    with nodes.bench(*selected, *alike, "--results", str(tmp_path / "results")) as bench:
        _, error = bench.communicate(timeout=LIMIT_S)
    assert bench.returncode == 1, error
    found = {record.spec.length: record for record in records(tmp_path / "results").values()}
    statuses = {length: record.status for length, record in found.items()}
    failed = dict.fromkeys((11, 12, 13, 15), "failed")
    assert statuses == {3: "ok", 14: "skipped", **failed}
    reasons = {length: record.error or "" for length, record in found.items()}
    assert reasons[11] == "the worker process died: signal 11 (SIGSEGV)"
    assert reasons[12].startswith("RuntimeError: no luck (slow.py:")
    assert reasons[13] == "took longer than the run timeout of 0.5 min"
    assert "a mirror: no answer" in reasons[14]
    assert reasons[15].startswith("the worker process died 3 times; the last time: ")
    assert len(begun(tmp_path)) == 6 + 2


@faults
def test_after_the_time_limit_submitted_runs_are_finished_and_no_other_begins(
    nodes: Nodes, selected: list[str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    with nodes.bench(*selected, "--time-limit", "0.1", "--results", str(results)) as bench:
        _, error = bench.communicate(timeout=LIMIT_S)
    assert bench.returncode == 0, error
    made = len(records(results))
    assert made < 8
    assert made == len(begun(tmp_path))
    assert f"{8 - made} left, the same command continues" in error


@faults
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--device", "cuda"], "unknown or absent device 'cuda'; valid: auto, cpu"),
        (["--threads", "64"], "no node of the cluster has what a run needs: 64 CPU"),
    ],
)
def test_what_the_nodes_do_not_have_is_refused(nodes: Nodes, asked: list[str], said: str) -> None:
    with nodes.bench("--profile", "smoke", *asked) as bench:
        _, error = bench.communicate(timeout=LIMIT_S)
    assert bench.returncode == 2
    assert said in error.splitlines()[-1]
    assert "Traceback" not in error


@faults
def test_an_address_that_does_not_answer_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(cluster, "CONNECT_S", 5.0)
        begin = time.monotonic()
        assert main(["run", "--ray", silent]) == 2
        assert time.monotonic() - begin < 30
    assert capsys.readouterr().err == (
        f"error: --ray: no cluster answers at {silent}: nothing within 5 s\n"
    )
    assert main(["run", "--ray", silent]) == 2  # now that nothing listens there
    assert f"no cluster answers at {silent}: Connection refused" in capsys.readouterr().err
