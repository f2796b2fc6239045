"""The hook as a tool for agents: Airflow's common.ai makes one of its signature and docstring."""

from __future__ import annotations

import json

import pytest

from airflow_provider_vectorize.client import VectorizeClient
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, ndjson, vectors

pytest.importorskip("airflow.providers.common.ai")

from airflow.providers.common.ai.toolsets.hook import HookToolset
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel


def test_a_model_asks_the_index(emulator):
    client = VectorizeClient(ACCOUNT, TOKEN, base_url=emulator.url)
    client.create_metadata_index(INDEX, "lang", "string")
    client.upsert(INDEX, ndjson(vectors("a", "b", "c", metadata={"lang": "en"})).encode())
    tools, answers = [], []

    def model(messages, info):
        if not tools:
            tools.extend(info.function_tools)
            arguments = {"index_name": INDEX, "vector_id": "b", "top_k": 2, "filter": {"lang": "en"},
                         "return_metadata": "all"}  # fmt: skip
            return ModelResponse([ToolCallPart("query", arguments)])
        answers.extend(part for part in messages[-1].parts if isinstance(part, ToolReturnPart))
        return ModelResponse([TextPart("done")])

    agent = Agent(FunctionModel(model), toolsets=[HookToolset(VectorizeHook(), allowed_methods=["query"])])
    assert agent.run_sync("what is like b?").output == "done"

    [tool] = tools
    assert tool.name == "query"
    assert tool.description == "Find the stored vectors that are nearest to a vector, the closest first."
    properties = tool.parameters_json_schema["properties"]
    kinds = {
        name: json.dumps({k: v for k, v in each.items() if k != "description"})
        for name, each in properties.items()
    }
    assert kinds == {
        "index_name": '{"anyOf": [{"type": "string"}, {"type": "null"}]}',
        "vector": '{"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]}',
        "vector_id": '{"anyOf": [{"type": "string"}, {"type": "null"}]}',
        "top_k": '{"type": "integer"}',
        "namespace": '{"anyOf": [{"type": "string"}, {"type": "null"}]}',
        "filter": '{"anyOf": [{"type": "object"}, {"type": "null"}]}',
        "return_values": '{"type": "boolean"}',
        "return_metadata": "{}",
    }
    assert all(each["description"] for each in properties.values())
    assert "required" not in tool.parameters_json_schema

    found = json.loads(answers[0].content)
    assert [match["metadata"] for match in found] == [{"lang": "en"}] * 2
