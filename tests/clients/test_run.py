"""Which wrangler a Node gets."""

from __future__ import annotations

import pytest

from tests.clients.run import wrangler


@pytest.mark.parametrize(
    ("node", "package"),
    [
        ("v20.3.0\n", "wrangler@4.86.0"),
        ("v20.20.2", "wrangler@4.86.0"),
        ("v22.11.0", "wrangler@4.86.0"),
        ("v22.12.0", "wrangler@4.164.0"),
        ("v24.1.0", "wrangler@4.164.0"),
    ],
)
def test_wrangler_is_the_newest_that_the_node_runs(node: str, package: str) -> None:
    assert wrangler(node) == package


@pytest.mark.parametrize("node", ["v18.20.0", "v20.2.0"])
def test_an_older_node_is_refused_with_a_clear_word(node: str) -> None:
    with pytest.raises(SystemExit, match=rf"wrangler needs Node 20\.3 or later.*this is {node}"):
        wrangler(node)
