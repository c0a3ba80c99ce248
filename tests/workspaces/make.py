"""Makes the workspace of the current schema that tests keep for ever: `python -m tests.workspaces.make`.

Run it once for each released schema, by that release; never again for an older one.
"""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import joblib
from sklearn.dummy import DummyClassifier

from registry import Model, ResourceConfiguration, Workspace
from registry.records import MetricRecord, RunRecord, ServiceRecord
from registry.stores.tables import SCHEMA

NOW = datetime(2026, 11, 23, 19, 50, 0, 123456, tzinfo=UTC)


def make(root: Path) -> None:
    root.mkdir()
    model, sample = root / ".model.joblib", root / ".sample.csv"
    joblib.dump(DummyClassifier().fit([[0, 0]], [1]), model)
    sample.write_text("a,b\n1,2\n")
    with Workspace.create("kept", path=root) as workspace:
        limits = ResourceConfiguration(cpu=0.5, memory_in_gb=0.25)
        first = Model.register(
            workspace,
            model,
            "kept",
            tags={"area": "naïve ☃"},
            properties={"p": "q"},
            description="the first",
            resource_configuration=limits,
            sample=sample,
        )
        records = workspace.metadata
        records.update_model("kept", first.version, lambda old: replace(old, created_time=NOW))
        records.add_run(RunRecord(id="kept_1", experiment="kept", number=0, status="NotStarted", created_time=NOW))
        records.update_run(
            "kept_1", lambda old: replace(old, status="Completed", arguments=("--kernel", "linear"), end_time=NOW)
        )
        values = {"Kernel type": "linear", "Accuracy": 0.97}
        records.add_metrics(
            [
                MetricRecord(run_id="kept_1", sequence=n, time=NOW, name=name, kind="scalar", value=value)
                for n, (name, value) in enumerate(values.items())
            ]
        )
        records.put_environment("kept-env", "ab" * 32, {"python": "3.11", "pip": ["scikit-learn==1.9.1"]})
        Model.register(workspace, model, "kept", run_id="kept_1")
        Model.register(workspace, model, "kept").delete()
        records.put_service(ServiceRecord(name="kept-service", models=("kept",), created_time=NOW, updated_time=NOW))
    for left in ("cache", "interpreters", "logs", "runs", "artifacts/incoming"):
        shutil.rmtree(root / left)
    model.rename(root / "model.joblib")
    sample.unlink()


if __name__ == "__main__":
    make(Path(__file__).parent / SCHEMA)
