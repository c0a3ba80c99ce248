"""What the Open Inference Protocol tells of server and models: health, metadata, configuration, the repository."""

from importlib.metadata import version
from typing import Any, Final

import orjson

from gateway.errors import InvalidRequest
from gateway.protocols.body import json_object
from gateway.protocols.open_inference_stats import statistics
from gateway.protocols.tensors import datatype_name
from gateway.schema.columns import Column
from gateway.schema.methods import METHODS
from gateway.schema.schema import ANY, FREE_METHODS, ModelSchema
from gateway.types import Answer, Asked, Catalogue, Known, Target, View
from registry.errors import shown

EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_repository", "model_configuration", "statistics")

_COLUMN_TYPES: Final = {"string": "BYTES", "datetime": "BYTES", "boolean": "BOOL"}
_STATES: Final = {"live": "READY", "starting": "LOADING", "preparing": "LOADING", "draining": "UNLOADING"}


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(orjson.dumps(value), status=status)


async def server(_: Catalogue, __: Asked) -> Answer:
    return _json({"name": "fitserve", "version": version("fitserve"), "extensions": EXTENSIONS})


async def live(_: Catalogue, __: Asked) -> Answer:
    return _json({"live": True})


async def ready(catalogue: Catalogue, _: Asked) -> Answer:
    """True when every model answers that is not unloaded; of none that is true too."""
    known = [catalogue.known(name) for name in catalogue.names()]
    all_ready = all(one.ready for one in known if one.state != "unloaded")
    return _json({"ready": all_ready}, 200 if all_ready else 503)


async def models(catalogue: Catalogue, _: Asked) -> Answer:
    return _json({"models": list(catalogue.names())})


async def model(catalogue: Catalogue, asked: Asked) -> Answer:
    known = known_of(catalogue, asked)
    target = known.target
    schema: ModelSchema = target.schema or ANY
    return _json(
        {
            "name": target.model,
            "versions": [str(number) for number in known.versions],
            "platform": "sklearn",
            "inputs": inputs_of(schema),
            "outputs": outputs_of(target),
        }
    )


async def model_ready(catalogue: Catalogue, asked: Asked) -> Answer:
    known = known_of(catalogue, asked)
    return _json({"name": known.target.model, "ready": known.ready}, known.status)


async def model_config(catalogue: Catalogue, asked: Asked) -> Answer:
    target = known_of(catalogue, asked).target
    schema: ModelSchema = target.schema or ANY
    return _json(
        {
            "name": target.model,
            "platform": "sklearn",
            "backend": "fitserve",
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": 0,
            "input": [_config(tensor) for tensor in inputs_of(schema)],
            "output": [_config(tensor) for tensor in outputs_of(target)],
        }
    )


async def model_stats(catalogue: Catalogue, asked: Asked) -> Answer:
    """Of the version that is named, or of those that answer."""
    if "model" in asked.path:
        shown = [known_of(catalogue, asked).target]
    else:
        shown = [catalogue.known(name).target for name in catalogue.names()]
    counted = await catalogue.counted()
    stats = [statistics(target.model, target.version, counted.get(target.model, {})) for target in shown]
    return _json({"model_stats": stats})


async def index(catalogue: Catalogue, asked: Asked) -> Answer:
    """All versions of all models; ``{"ready": true}`` those that answer."""
    only_ready = asked.body.strip() not in (b"", b"null") and json_object(asked.body).get("ready") is True
    found = []
    for name in catalogue.names():
        for number in catalogue.known(name).versions:
            known = catalogue.known(name, number)
            state = "READY" if known.ready else _STATES.get(known.state, "UNAVAILABLE")
            if known.ready or not only_ready:
                found.append({"name": name, "version": str(number), "state": state, "reason": known.reason or ""})
    return _json(found)


async def load(catalogue: Catalogue, asked: Asked) -> Answer:
    """Starts a model that is not running, or was unloaded, and waits for it. Triton's uploads (``file:`` parameters) are refused."""
    parameters = json_object(asked.body).get("parameters") if asked.body.strip() not in (b"", b"null") else None
    for name in parameters if isinstance(parameters, dict) else ():
        if name.startswith("file:"):
            raise InvalidRequest(
                f"parameter {shown(name)}: models are registered, not uploaded; see `fitserve register`"
            )
    await catalogue.load(asked.path["model"])
    return _json({})


async def unload(catalogue: Catalogue, asked: Asked) -> Answer:
    """Stops a model until it is loaded again, once what was accepted is answered."""
    await catalogue.unload(asked.path["model"])
    return _json({})


def known_of(catalogue: Catalogue, asked: Asked) -> Known:
    """The model, and the version if the path names one.

    Raises:
        ModelNotFound
        InvalidRequest: the version is no number.
    """
    text = asked.path.get("version")
    if text is None:
        return catalogue.known(asked.path["model"])
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest("a version is a whole number")
    return catalogue.known(asked.path["model"], int(text))


def inputs_of(schema: ModelSchema) -> list[dict[str, Any]]:
    """One tensor for an array or a list, one a column for named columns."""
    if schema.kind == "list":
        return [{"name": "input-0", "datatype": "BYTES", "shape": [-1]}]
    if schema.names:
        return [_column(column) for column in schema.columns]
    types = {_datatype(column) for column in schema.columns}
    datatype = types.pop() if len(types) == 1 else "BYTES" if "BYTES" in types else _float(schema)
    return [{"name": "input-0", "datatype": datatype, "shape": [-1, schema.width or -1]}]


def outputs_of(target: Target) -> list[dict[str, Any]]:
    """What each method gives, as the recorded answers have it; -1 stands for a size that is not known before.

    Methods that take other inputs than the model's own are not listed beside others, and neither is one that refused the recorded rows.
    """
    listed = [method for method in METHODS if method in target.methods]
    own = [method for method in listed if method not in FREE_METHODS] or listed
    seen = target.description.get("answers")
    if not seen:
        return [_output(target, method) for method in own]
    return [output for method in own if method in seen for output in _seen_outputs(method, seen[method])]


def _seen_outputs(method: str, forms: Any) -> list[dict[str, Any]]:
    names = [method] if len(forms) == 1 else [f"{method}-{index}" for index in range(len(forms))]
    return [
        {"name": name, "datatype": datatype_name("<f4" if dtype == "<f2" else dtype), "shape": list(shape)}
        for name, (dtype, shape) in zip(names, forms, strict=True)
    ]


def _output(target: Target, method: str) -> dict[str, Any]:
    classes = target.description.get("classes") or []
    if classes and isinstance(classes[0], list):
        classes = []
    if method == "predict":
        first = classes[0] if classes else None
        datatype = "BYTES" if isinstance(first, str) else "INT64" if isinstance(first, int) else "FP64"
        return {"name": method, "datatype": datatype, "shape": [-1]}
    width = len(classes) if classes and method in ("predict_proba", "predict_log_proba") else -1
    return {"name": method, "datatype": "FP64", "shape": [-1, width]}


def _column(column: Column) -> dict[str, Any]:
    return {"name": column.name, "datatype": _datatype(column), "shape": [-1, 1]}


def _datatype(column: Column) -> str:
    return _COLUMN_TYPES.get(column.type or "", "FP64")


def _float(schema: ModelSchema) -> str:
    return {"<f4": "FP32", "<f2": "FP16"}.get(schema.dtype or "", "FP64")


def _config(tensor: dict[str, Any]) -> dict[str, Any]:
    datatype = "TYPE_STRING" if tensor["datatype"] == "BYTES" else f"TYPE_{tensor['datatype']}"
    return {"name": tensor["name"], "data_type": datatype, "dims": tensor["shape"]}


def _both(path: str, answer: Any) -> tuple[View, View]:
    return View(f"/v2/models/{{model}}{path}", answer), View(f"/v2/models/{{model}}/versions/{{version}}{path}", answer)


VIEWS: Final = (
    View("/v2", server),
    View("/v2/", server),
    View("/v2/health/live", live),
    View("/v2/health/ready", ready),
    View("/v2/models", models),
    View("/v2/models/stats", model_stats),
    *_both("", model),
    *_both("/ready", model_ready),
    *_both("/config", model_config),
    *_both("/stats", model_stats),
    View("/v2/repository/index", index, "POST"),
    View("/v2/repository/models/{model}/load", load, "POST"),
    View("/v2/repository/models/{model}/unload", unload, "POST"),
)
