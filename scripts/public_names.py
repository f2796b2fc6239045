"""List the public names of the package, one a line: what a change may not break unannounced."""

from __future__ import annotations

import importlib
import inspect
import sys
import zlib
from pathlib import Path

PACKAGE = "airflow_provider_vectorize"
#: Where users find what they write into their DAGs, tests and tasks. The rest is furniture.
MODULES = (
    "assets",
    "base",
    "client.client",
    "client.errors",
    "client.types",
    "connection",
    "decorators.vectorize",
    "emulator",
    "hooks.vectorize",
    "ingest.options",
    "ingest.report",
    "lineage",
    "links",
    "operators.index",
    "operators.sync",
    "operators.vectorize",
    "operators.vectors",
    "policies",
    "sensors.vectorize",
    "triggers.objects",
    "triggers.vectorize",
)


def public_names() -> list[str]:
    """Give classes and functions, and of classes the public methods, each with its parameters."""
    names: list[str] = []
    for place in MODULES:
        module = importlib.import_module(f"{PACKAGE}.{place}")
        exported = getattr(module, "__all__", None)
        for name in sorted(exported or vars(module)):
            value = getattr(module, name)
            ours = getattr(value, "__module__", "").startswith(PACKAGE if exported else module.__name__)
            if name.startswith("_") or not ours or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            names.append(f"{place}.{name}{_parameters(value)}")
            if inspect.isclass(value) and place in ("hooks.vectorize", "client.client"):
                names += [
                    f"{place}.{name}.{method}{_parameters(function)}"
                    for method, function in sorted(inspect.getmembers(value, inspect.isfunction))
                    if not method.startswith("_") and function.__module__.startswith(PACKAGE)
                ]
    return names


def _parameters(value: object) -> str:
    function = value.__init__ if inspect.isclass(value) else value
    if not inspect.isfunction(function) or not function.__module__.startswith(PACKAGE):
        return ""
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "kwargs")]
    return f"({', '.join(names)})"


def undocumented(inventory: Path) -> list[str]:
    """Give the public classes and functions that the built site does not have."""
    lines = zlib.decompress(inventory.read_bytes().split(b"\n", 4)[4]).decode().splitlines()
    there = {line.split()[0].rpartition(".")[2] for line in lines if " py:" in line}
    names = {name.partition("(")[0] for name in public_names() if not name.startswith("emulator.")}
    return sorted(name for name in names if name.rpartition(".")[2] not in there)


def main() -> None:
    if "--documented" in sys.argv:
        if missing := undocumented(Path(sys.argv[-1])):
            raise SystemExit("not in the reference: " + ", ".join(missing))
        print("docs: built, and every public name is in the reference")
        return
    path = Path(__file__).parent.parent / "tests" / "public_names.txt"
    path.write_text("\n".join(public_names()) + "\n")
    print(f"{path.name}: {len(path.read_text().splitlines())} names")


if __name__ == "__main__":
    main()
