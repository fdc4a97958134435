"""What the source never does: run what it reads, unpickle it, unpack it by its own names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"),
    *("yaml", "telnetlib", "ftplib", "xmlrpc"),
}
CALLS = {
    *("eval", "exec", "compile", "__import__", "input", "breakpoint"),
    *("os.system", "os.popen", "tempfile.mktemp", "ssl._create_unverified_context"),
}
METHODS = {"extractall", "extract", "recv", "unsafe_load", "full_load", "read_pickle"}
"""Of whatever object. `recv` of a pipe unpickles; `recv_bytes` does not."""


def dotted(node: ast.expr) -> str:
    """`a.b.c` as it is written; empty for what has no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def keyword(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None where there is none."""
    values = [each.value for each in call.keywords if each.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def dangers(source: str) -> Iterator[str]:
    """Line and name of whatever would run, or trust, what comes from outside."""
    for node in ast.walk(ast.parse(source)):
        found = ""
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            found = ", ".join(name for name in names if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            last = name.rpartition(".")[2]
            if name in CALLS or ("." in name and last in METHODS):
                found = name
            elif name == "torch.load" and keyword(node, "weights_only") is not True:
                found = f"{name} without weights_only=True"
            elif last == "load" and keyword(node, "allow_pickle") not in (None, False):
                found = f"{name} with allow_pickle"
            elif keyword(node, "shell") not in (None, False):
                found = f"{name} with shell"
            elif keyword(node, "verify") is False:
                found = f"{name} with verify=False"
        if found:
            yield f"{node.lineno}: {found}"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("package", ["bench", "models", "tasks"])
def test_nothing_that_is_read_is_run_or_unpickled(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    found = [f"{p.name}:{danger}" for p in paths for danger in dangers(p.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import yaml",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "connection.recv()",
        "eval(text)",
        "exec(text)",
        "archive.extractall(folder)",
        "subprocess.run(text, shell=True)",
        "requests.get(url, verify=False)",
        "def f():\n    return os.system(text)",
    ],
)
def test_the_walk_sees_what_it_looks_for(source: str) -> None:
    assert list(dangers(source))


def test_the_walk_lets_the_safe_ways_pass() -> None:
    safe = """
    torch.load(file, map_location="cpu", weights_only=True)
    np.load(path)
    connection.recv_bytes()
    subprocess.run(["git", "status"])
    requests.get(url, verify=verify)
    """
    assert not list(dangers("\n".join(line.strip() for line in safe.splitlines())))
