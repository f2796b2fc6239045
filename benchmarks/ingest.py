"""How fast and how small the ingest is, beside what else there is; ``make bench``. Takes about half an hour.

Everything is made under ``.work/bench``: data from a seed, nginx from Debian, wrangler from npm, the ``cloudflare``
package. Each figure is the **median of the ratios of 7 pairs** of runs in turn, in fresh processes, after one
warm-up; a series whose baseline spreads by more than 25 % is void and repeated. Writes ``benchmarks/RESULTS.md``.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow
from pyarrow import parquet
from sinks import nginx, proxy

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".work" / "bench"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PATH = "/client/v4/accounts/0123456789abcdef0123456789abcdef/vectorize/v2/indexes/docs/upsert"

PAIRS = 7
#: Beside what is slower anyway.
FEW_PAIRS = 3
#: Of the Parquet file: 120 MB.
GROUP_ROWS = 20_000
MAX_SPREAD = 0.25
REPEATS = 2

Run = Callable[[], dict[str, Any]]


# What is measured against


def contender(name: str, file: Path, port: int) -> Run:
    def run() -> dict[str, Any]:
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{WORK / 'cloudflare'}"}
        command = [sys.executable, ROOT / "benchmarks" / "contenders.py", name, file, str(port)]
        begun = time.perf_counter()
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return {"process": time.perf_counter() - begun, **json.loads(output.splitlines()[-1])}

    return run


def shell(script: str) -> Run:
    def run() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            begun = time.perf_counter()
            subprocess.run(["bash", "-ec", script], cwd=folder, check=True, capture_output=True)
            seconds = time.perf_counter() - begun
        return {"seconds": seconds, "process": seconds}

    return run


def curl(file: Path, port: int) -> Run:
    """Cut the file in pieces of at most 32 MiB of whole lines, and send them by two processes."""
    send = (
        "curl -sf -o /dev/null -H 'Content-Type: application/x-ndjson' -H 'Expect:' "
        f"--data-binary @{{}} http://127.0.0.1:{port}{PATH}"
    )
    return shell(f"split -C 32M {file} part. && ls part.* | xargs -P 2 -I{{}} {send}")


def wrangler(file: Path, port: int) -> Run:
    environment = (
        f"CLOUDFLARE_API_BASE_URL=http://127.0.0.1:{port}/client/v4 CLOUDFLARE_API_TOKEN={'t' * 40} "
        f"CLOUDFLARE_ACCOUNT_ID={'0' * 32} WRANGLER_SEND_METRICS=false"
    )
    program = WORK / "wrangler" / "node_modules" / ".bin" / "wrangler"
    return shell(f"{environment} {program} vectorize upsert docs --file {file} < /dev/null")


# Method


def series(ours: Run, other: Run, count: int = PAIRS) -> dict[str, Any]:
    """Run the two in turn, and compare pair by pair: ours divided by the other."""
    for _ in range(REPEATS):
        ours(), other()
        pairs = [(ours(), other()) for _ in range(count)]
        baseline = [theirs["seconds"] for _, theirs in pairs]
        spread = (max(baseline) - min(baseline)) / statistics.median(baseline)
        if spread <= MAX_SPREAD:
            break
        print(f"  void: the baseline spreads by {spread:.0%}", flush=True)
    else:
        print("  given up: this machine is too uneven now, as the spread in the table shows", flush=True)
    return {
        "ratio": statistics.median(mine["seconds"] / theirs["seconds"] for mine, theirs in pairs),
        "process_ratio": statistics.median(mine["process"] / theirs["process"] for mine, theirs in pairs),
        "ours": statistics.median(mine["seconds"] for mine, _ in pairs),
        "process": statistics.median(mine["process"] for mine, _ in pairs),
        "other": statistics.median(baseline),
        "spread": spread,
        "bytes_ratio": pairs[0][0].get("bytes_ratio"),
    }


# Set-up


def set_up() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    if shutil.which("nginx") is None:
        root = [] if os.geteuid() == 0 else ["sudo"]
        subprocess.run(
            [*root, "apt-get", "install", "-y", "-q", "nginx-light"], check=True, stdout=subprocess.DEVNULL
        )
    if not (WORK / "wrangler" / "node_modules" / ".bin" / "wrangler").exists():
        subprocess.run(
            [
                "npm",
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--prefix",
                WORK / "wrangler",
                "wrangler@4",
            ],
            check=True,
        )
    if not (WORK / "cloudflare").exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            WORK / "cloudflare",
        ]
        subprocess.run([*command, "cloudflare", "distro"], check=True)


def data(name: str, megabytes: int) -> Path:
    """Vectors of length 1 with 1,536 dimensions, as Python's ``json`` writes doubles; from a seed."""
    path = WORK / name
    if path.exists() and path.stat().st_size >= megabytes * 1e6:
        return path
    print(f"making {name}", flush=True)
    random, number = np.random.default_rng(7), 0
    with path.open("wb") as stream:
        while stream.tell() < megabytes * 1e6:
            vectors = random.standard_normal((250, 1536))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            for vector in vectors:
                record = {
                    "id": f"passage-{number:08}",
                    "values": vector.tolist(),
                    "metadata": {"title": f"Passage {number}", "page": number % 97},
                }
                stream.write(orjson.dumps(record).replace(b",", b", ").replace(b":", b": ") + b"\n")
                number += 1
    return path


def twins(gigabytes: float) -> tuple[Path, Path]:
    """The same vectors of float32, as Parquet of so many bytes, and as Python's ``json`` writes them."""
    table, text = WORK / "twin.parquet", WORK / "twin.ndjson"
    if table.exists() and text.exists() and table.stat().st_size >= gigabytes * 1e9:
        return table, text
    print("making twin.parquet and twin.ndjson", flush=True)
    random, number = np.random.default_rng(11), 0
    schema = pyarrow.schema(
        {
            "id": pyarrow.string(),
            "values": pyarrow.list_(pyarrow.float32()),
            "metadata": pyarrow.struct({"title": pyarrow.string(), "page": pyarrow.int64()}),
        }
    )
    with text.open("wb") as stream, parquet.ParquetWriter(table, schema) as writer:
        while table.stat().st_size < gigabytes * 1e9:
            vectors = random.standard_normal((GROUP_ROWS, 1536), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            records = [
                {
                    "id": f"passage-{number + place:08}",
                    "values": vector,
                    "metadata": {"title": f"Passage {number + place}", "page": (number + place) % 97},
                }
                for place, vector in enumerate(vectors)
            ]
            writer.write_table(pyarrow.Table.from_pylist(records, schema=schema))
            for record in records:
                line = orjson.dumps(record | {"values": record["values"].tolist()})
                stream.write(line.replace(b",", b", ").replace(b":", b": ") + b"\n")
            number += GROUP_ROWS
    return table, text


def tenfold(file: Path) -> Path:
    path = file.with_name(f"tenfold-{file.name}")
    if not path.exists() or path.stat().st_size != 10 * file.stat().st_size:
        with path.open("wb") as stream:
            for _ in range(10):
                with file.open("rb") as part:
                    shutil.copyfileobj(part, stream, 1 << 22)
    return path


def packed(file: Path) -> Path:
    path = file.with_suffix(".ndjson.gz")
    if not path.exists():
        squeeze = zlib.compressobj(1, wbits=31)
        with file.open("rb") as source, path.open("wb") as stream:
            while block := source.read(1 << 22):
                stream.write(squeeze.compress(block))
            stream.write(squeeze.flush())
    return path


# Figures


def speed(lines: list[str]) -> None:
    file = data("600.ndjson", 600)
    with nginx(WORK / "nginx") as port:
        print("stages", flush=True)
        stages = [contender("stages", file, port)() for _ in range(3)]
        bare = "bare loop: `orjson.loads`, float32, `orjson.dumps`"
        others: list[tuple[str, str, Run, int]] = [
            ("ours, compact", bare, contender("bare loop", file, port), PAIRS),
            ("ours, lines", "`split` + `curl`, 2 processes", curl(file, port), PAIRS),
            (
                "ours, compact, from .gz",
                "ours, compact, plain",
                contender("ours, compact", file, port),
                PAIRS,
            ),
            ("ours, lines, from .gz", "ours, lines, plain", contender("ours, lines", file, port), PAIRS),
            ("ours, lines", "wrangler", wrangler(file, port), FEW_PAIRS),
            ("ours, lines", "loop over `requests`", contender("requests", file, port), FEW_PAIRS),
            ("ours, lines", "`cloudflare` package", contender("cloudflare", file, port), FEW_PAIRS),
        ]
        lines += [
            "## Speed, into a sink that swallows everything",
            "",
            (
                f"{file.stat().st_size / 1e6:.0f} MB of 1,536-d. Seconds of the load, imports done; in brackets "
                "the whole process. The others check nothing."
            ),
            "",
            "| ours | s | other | s | its spread | ours / other |",
            "|---|---|---|---|---|---|",
        ]
        for name, title, other, count in others:
            print(f"{name} and {title}", flush=True)
            mine, _, squeezed = name.partition(", from ")
            got = series(contender(mine, packed(file) if squeezed else file, port), other, count)
            lines.append(
                f"| {name} | {got['ours']:.2f} ({got['process']:.2f}) | {title} | {got['other']:.2f} | "
                f"{got['spread']:.0%} | **{got['ratio']:.2f}** ({got['process_ratio']:.2f}) |"
            )
            print(lines[-1], flush=True)
        with proxy(port, 20, 80) as slow:
            print("over the proxy", flush=True)
            got = series(contender("ours, compact", file, slow), curl(file, slow))
    lines += [
        "",
        (
            "What each step costs, in one thread, added to the one before (median of 3). What is left to the seconds "
            "above is sending, at the same time, and the last chunk, which goes alone:"
        ),
        "",
        *(
            f"- {step}: {statistics.median(run[step] for run in stages):.2f} s"
            for step in stages[0]
            if "(" in step
        ),
        "",
        "## Speed, over a network of 20 MB/s and 80 ms",
        "",
        (
            f"{file.stat().st_size / 1e6:.0f} MB: ours, compact {got['ours']:.1f} s, `split` + `curl` "
            f"{got['other']:.1f} s (spread {got['spread']:.0%}): **{1 / got['ratio']:.2f} times faster**."
        ),
        "",
        "## Bytes",
        "",
        f"Compact, **{got['bytes_ratio']:.3f}** of the bytes of the source go out.",
        "",
    ]
    print("\n".join(lines), flush=True)


def memory(lines: list[str]) -> None:
    plain = data("400.ndjson", 400)
    lines += [
        "## Memory",
        "",
        (
            "Peak resident size above the bare import, MiB, at default options; through the proxy, at a rate so slow "
            "that the window is full."
        ),
        "",
        "| source | compact | proxy | 400 MB | 4 GB | ratio of the whole peaks | report, bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    with nginx(WORK / "nginx") as port:
        # What is slower to read needs a slower network to fill the window within 400 MB.
        for file, name, rate in (
            (plain, "ours, lines", 80),
            (plain, "ours, compact", 25),
            (packed(plain), "ours, lines", 50),
            (packed(plain), "ours, compact", 10),
        ):
            print(f"memory: {file.name}, {name}", flush=True)
            with proxy(port, rate, 1) as slow:
                less, more = (contender(name, each, slow)() for each in (file, tenfold(file)))
            lines.append(
                f"| {'gz' if file.suffix == '.gz' else 'plain'} | {'on' if 'compact' in name else 'off'} | "
                f"{rate} MB/s | {less['above_import_mib']:.0f} | {more['above_import_mib']:.0f} | "
                f"{more['peak_mib'] / less['peak_mib']:.2f} | "
                f"{less['report_bytes']} and {more['report_bytes']} |"
            )
            print(lines[-1], flush=True)
        print("memory: rejects", flush=True)
        refused = [contender("ours, rejects", each, port)() for each in (plain, tenfold(plain))]
    less, more = refused
    lines += [
        "",
        (
            f"With every record refused and kept in a rejects folder: {less['above_import_mib']:.0f} MiB for 400 MB "
            f"({less['rejected']} records), {more['above_import_mib']:.0f} MiB for 4 GB ({more['rejected']} records)."
        ),
        "",
    ]


def tables(lines: list[str]) -> None:
    table, text = twins(1)
    with nginx(WORK / "nginx") as port:
        print("Parquet and its twin", flush=True)
        digests = [contender("digest", file, port)() for file in (table, text)]
        if digests[0]["digest"] != digests[1]["digest"]:
            raise SystemExit("the Parquet file and its NDJSON twin are not the same vectors")
        got = series(
            contender("ours, on one core", table, port),
            contender("ours, on one core", text, port),
            FEW_PAIRS,
        )
        peak = contender("ours, on one core", table, port)()["above_import_mib"]
    lines += [
        "## Parquet",
        "",
        (
            f"{digests[0]['records']} vectors of 1,536 float32: {table.stat().st_size / 1e9:.2f} GB of Parquet in row "
            f"groups of {GROUP_ROWS} rows, {text.stat().st_size / 1e9:.2f} GB of NDJSON; what is sent of the two is "
            f"the same, byte by byte. On one core: Parquet {got['ours']:.1f} s, NDJSON {got['other']:.1f} s (spread "
            f"{got['spread']:.0%}): **{1 / got['ratio']:.2f} times as fast**, with {peak:.0f} MiB above the imports."
        ),
        "",
    ]
    print(lines[-2], flush=True)


def machine() -> str:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{os.cpu_count()} cores of {model}, {gigabytes:.0f} GB, Python {platform.python_version()}"


def main() -> None:
    set_up()
    lines = [
        "# Results",
        "",
        (
            f"Made by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine()}. Method: fresh processes, one warm-up, "
            f"{PAIRS} pairs in turn, median of the ratios pair by pair; a series whose baseline spreads by more than "
            f"{MAX_SPREAD:.0%} is void."
        ),
        "",
    ]
    speed(lines)
    memory(lines)
    tables(lines)
    RESULTS.write_text("\n".join(lines))
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
