import inspect

import pytest

from gateway import errors as gateway
from gateway.http.errors import STATUS, UNEXPECTED, headers_of, sentence_of, status_of
from gateway.schema.methods import METHODS, check_method, default_method
from registry import errors as registry


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (gateway.InvalidRequest("x"), 400),
        (gateway.SchemaMismatch("x"), 400),
        (gateway.UnknownMethod("fit", ["predict"]), 400),
        (gateway.InputRejected("x"), 400),
        (gateway.NoScoringMethod(), 400),
        (gateway.Unauthorized(), 401),
        (gateway.Forbidden(), 403),
        (gateway.RouteNotFound(), 404),
        (gateway.SwaggerVersionNotFound("9"), 404),
        (registry.ModelNotFound("m"), 404),
        (gateway.MethodNotAllowed(["GET"]), 405),
        (gateway.SlowSender(5), 408),
        (gateway.BodyTooLarge(10, 11), 413),
        (gateway.UnsupportedMediaType("text/plain"), 415),
        (gateway.QueueFull("m", 5, 5), 429),
        (gateway.HeaderTooLong(["x-request-id"]), 431),
        (gateway.ModelFailed("m"), 500),
        (ValueError("x"), 500),
        (gateway.ModelUnavailable("m", "it is starting"), 503),
        (gateway.MemoryLimitExceeded("m", 0.5, 0.51), 503),
        (gateway.DeadlineExceeded(100), 504),
        (gateway.InsufficientMemory("m", 1, 0.5), 507),
    ],
)
def test_statuses(error: Exception, status: int) -> None:
    assert status_of(error) == status


def test_every_error_of_the_gateway_has_a_status_by_intention() -> None:
    for _, cls in inspect.getmembers(gateway, inspect.isclass):
        if issubclass(cls, registry.FitserveError):
            assert any(base in STATUS for base in cls.__mro__), cls


def test_callers_read_only_what_is_written_for_them() -> None:
    assert sentence_of(gateway.SchemaMismatch("row 0")) == "row 0"
    assert sentence_of(registry.ModelNotFound("m")).startswith("model 'm' is not registered")
    assert "0.5 GB" in sentence_of(gateway.MemoryLimitExceeded("m", 0.5, 0.51))
    assert sentence_of(registry.WorkspaceLocked("/home/me")) == UNEXPECTED
    assert sentence_of(registry.ArtifactChanged("m", "a", "b")) == UNEXPECTED
    assert sentence_of(KeyError("/etc/passwd")) == UNEXPECTED


def test_headers_that_belong_to_an_error() -> None:
    assert headers_of(gateway.QueueFull("m", 5, 5, retry_after=2)) == {"retry-after": "2"}
    assert headers_of(gateway.Unauthorized()) == {"www-authenticate": "Bearer"}
    assert headers_of(gateway.MethodNotAllowed(["GET", "POST"])) == {"allow": "GET, POST"}
    assert headers_of(gateway.SchemaMismatch("x")) == {}


def test_a_models_long_message_is_shortened_and_on_one_line() -> None:
    text = str(gateway.InputRejected("a\n  b" + "x" * 1000))
    assert text.startswith("the model refused this input: a b")
    assert len(text) < 600


@pytest.mark.parametrize(
    ("methods", "azure", "others"),
    [
        (("predict", "predict_proba"), "predict_proba", "predict"),
        (("predict", "transform"), "predict", "predict"),
        (("transform", "score_samples"), "transform", "transform"),
        (("decision_function", "kneighbors"), "decision_function", "decision_function"),
        (("kneighbors", "score_samples"), "score_samples", "score_samples"),
        (("apply",), "apply", "apply"),
    ],
)
def test_default_methods(methods: tuple[str, ...], azure: str, others: str) -> None:
    assert default_method(methods, "azure") == azure
    for dialect in ("open_inference", "kserve_v1", "mlflow"):
        assert default_method(methods, dialect) == others


def test_a_default_of_the_registration_must_be_a_method_of_the_model() -> None:
    assert default_method(("predict", "transform"), "azure", "transform") == "transform"
    with pytest.raises(gateway.UnknownMethod, match="it has: predict"):
        default_method(("predict",), "azure", "transform")
    with pytest.raises(gateway.NoScoringMethod):
        default_method((), "azure")


def test_no_method_that_changes_a_model_is_on_the_list() -> None:
    assert not {method for method in METHODS if "fit" in method or method.startswith(("_", "set_", "get_", "partial"))}
    with pytest.raises(gateway.UnknownMethod):
        check_method("fit", ("fit", "predict"))


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("no file /home/me/model.pkl here", "no file … here"),
        ("No such file:/home/me/model.pkl", "No such file:…"),
        ("'/srv/app/x.py', line 3", "'…', line 3"),
        ("see https://pip.pypa.io/en/latest/topics/", "see https://pip.pypa.io/en/latest/topics/"),
        ("at http://[::1]:8080/models/iris/score", "at http://[::1]:8080/models/iris/score"),
        ("from https://x.org/get?file=/a/b/c and /etc/pip/conf", "from https://x.org/get?file=/a/b/c and …"),
        ("name @ file:///home/me/wheels/a.whl", "name @ …"),
        ("git+https://github.com/a/b.git and git+file:///home/me/b", "git+https://github.com/a/b.git and …"),
        ("1/2/3 of a/b/c", "1/2/3 of a/b/c"),
    ],
)
def test_paths_of_this_machine_are_removed_and_urls_stay(sentence: str, shown: str) -> None:
    assert gateway.redact_paths(sentence) == shown
