"""When a task is tried again, and when not."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowOptionalProviderFeatureException

from airflow_provider_vectorize.client import errors
from airflow_provider_vectorize.hooks.vectorize import VectorizeHook
from airflow_provider_vectorize.operators.vectorize import VectorizeUpsertOperator
from tests.surface.conftest import ACCOUNT, INDEX, TOKEN, vectors
from tests.versions import AIRFLOW, serialized

if AIRFLOW < (3, 3):

    def test_an_older_airflow_is_told_what_it_lacks():
        with pytest.raises(AirflowOptionalProviderFeatureException, match=r"Airflow 3\.3"):
            import airflow_provider_vectorize.policies  # noqa: F401

else:
    from airflow.sdk import RetryAction

    from airflow_provider_vectorize.policies import VectorizeRetryPolicy

    def decide(error, context=None):
        return VectorizeRetryPolicy().evaluate(error, 1, 3, context)

    @pytest.mark.parametrize(
        "error",
        [
            errors.AuthenticationError("refused", status=401),
            errors.IndexNotFoundError("none", status=404),
            errors.InvalidArgumentError("no index"),
            errors.InvalidRecordError("bad", source="s", line=1, record_id=None, code="c"),
            errors.TooManyRejectsError("too many"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_permanent_error_fails(error):
        assert decide(error).action is RetryAction.FAIL

    @pytest.mark.parametrize(
        "error",
        [
            errors.RateLimitError("slow down", status=429),
            errors.ServerError("oh", status=503),
            errors.TransportError("reset"),
            errors.SourceError("broken off"),
            AirflowException("another"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_may_pass_is_left_to_the_task(error):
        assert decide(error).action is RetryAction.DEFAULT

    @pytest.mark.parametrize(("asked", "delay"), [(0.0, 0.0), (17.0, 17.0), (1e9, 330.0)])
    def test_the_delay_is_the_servers_within_bounds(asked, delay):
        decision = decide(errors.RateLimitError("slow down", status=429, retry_after=asked))
        assert decision.action is RetryAction.RETRY
        assert decision.retry_delay == timedelta(seconds=delay)

    def test_a_token_that_was_replaced_meanwhile_is_tried_again(monkeypatch):
        refused = errors.AuthenticationError("refused", status=401)
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", f"vectorize://{ACCOUNT}:old-token@")
        hook = VectorizeHook()
        assert hook.settings
        context = {"task": SimpleNamespace(hook=hook)}
        assert decide(refused, context).action is RetryAction.FAIL
        monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", f"vectorize://{ACCOUNT}:new-token@")
        assert decide(refused, context).action is RetryAction.RETRY
        assert decide(refused, {"task": SimpleNamespace()}).action is RetryAction.FAIL

    class TestInATask:
        def upsert(self, **kwargs):
            settings = {"task_id": "upsert", "index_name": INDEX, "vectors": vectors("a")}
            policy = {"retries": 1, "retry_policy": VectorizeRetryPolicy()}
            return VectorizeUpsertOperator(**(settings | policy | kwargs))

        def test_no_try_is_spent_on_what_is_permanent(self, emulator, dag, run_dag):
            with dag:
                self.upsert(index_name="missing")
            ended = run_dag(dag)
            assert ended.task_state("upsert") == "failed"
            assert ended.tasks["upsert"][0].try_number == 1
            assert "IndexNotFoundError is permanent" in ended.log

        def test_the_next_try_begins_when_the_server_says_so(self, emulator, dag, run_dag, monkeypatch):
            uri = f"vectorize://{ACCOUNT}:{TOKEN}@127.0.0.1:{emulator.port}/http?max_attempts=1"
            monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", uri)
            emulator.add_faults([{"operation": "upsert", "kind": "status", "status": 429, "retry_after": 1}])
            with dag:
                self.upsert(retry_delay=timedelta(hours=1))
            ended = run_dag(dag)
            assert ended.task_state("upsert") == "success"
            assert ended.tasks["upsert"][0].try_number == 2
            assert "the API asks to wait 1 s" in ended.log

        def test_a_replaced_token_is_taken_up(self, emulator, dag, run_dag, monkeypatch):
            right = (
                f"vectorize://{ACCOUNT}:right-token@{emulator.url.partition('//')[2].partition('/')[0]}/http"
            )
            emulator.add_faults([{"operation": "get_index", "times": 1, "kind": "status", "status": 401}])
            refused = VectorizeRetryPolicy.evaluate

            def replaced_meanwhile(self, *args, **kwargs):
                monkeypatch.setenv("AIRFLOW_CONN_VECTORIZE_DEFAULT", right)
                return refused(self, *args, **kwargs)

            monkeypatch.setattr(VectorizeRetryPolicy, "evaluate", replaced_meanwhile)
            with dag:
                self.upsert(retry_delay=timedelta(hours=1))
            ended = run_dag(dag)
            assert ended.task_state("upsert") == "success"
            assert ended.tasks["upsert"][0].try_number == 2

        def test_a_dag_with_it_can_be_stored(self, dag):
            with dag:
                self.upsert()
            assert serialized(dag)
