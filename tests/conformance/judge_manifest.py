"""KServe's own models judge the InferenceService that `fitserve package --kubernetes` writes: python judge_manifest.py FILE

Read into KServe's and Kubernetes' classes and written again, nothing may be lost: what they do not know would be.
"""

import json
import sys
from typing import Any

import kserve
import yaml
from kubernetes.client import ApiClient, models


class _Answer:
    """What the client reads objects from."""

    def __init__(self, document: Any) -> None:
        self.data = json.dumps(document)


def main(file: str) -> int:
    with open(file, encoding="utf-8") as text:
        document = yaml.safe_load(text)
    for name in dir(kserve):  # the client looks for classes in its own module
        if name.startswith("V1") and not hasattr(models, name):
            setattr(models, name, getattr(kserve, name))
    client = ApiClient()
    service = client.deserialize(_Answer(document), "V1beta1InferenceService")
    found = client.sanitize_for_serialization(service)
    lost = differences(document, found)
    print("\n".join(lost) or f"InferenceService {document['metadata']['name']}: nothing is lost")
    assert isinstance(service.spec.predictor, kserve.V1beta1PredictorSpec)
    assert [container.name for container in service.spec.predictor.containers] == ["kserve-container"]
    document["spec"]["predictor"]["containers"][0]["memroy"] = "1Gi"
    again = client.deserialize(_Answer(document), "V1beta1InferenceService")
    assert differences(document, client.sanitize_for_serialization(again)), "a misspelt field was not noticed"
    return len(lost)


def differences(given: Any, found: Any, where: str = "") -> list[str]:
    if isinstance(given, dict) and isinstance(found, dict):
        return [d for key in given | found for d in differences(given.get(key), found.get(key), f"{where}.{key}")]
    if isinstance(given, list) and isinstance(found, list) and len(given) == len(found):
        pairs = enumerate(zip(given, found, strict=True))
        return [d for i, (one, other) in pairs for d in differences(one, other, f"{where}[{i}]")]
    return [] if given == found else [f"{where}: {given!r} became {found!r}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
