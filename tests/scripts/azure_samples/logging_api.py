"""After the public sample "logging API", from start to end."""

import os
import random

from azureml.core import Experiment, Run, Workspace

try:
    import numpy as np
except ImportError:  # this Python has none

    class np:
        int64, float32, bool_ = int, float, bool

        from math import cos, sin


ws = Workspace.from_config()
exp = Experiment(workspace=ws, name="logging-api-test")
run = exp.start_logging(outputs=None, snapshot_directory=".")
print(run.get_portal_url())

run.log(name="string-metric", value="hello")
run.log("number", np.int64(3))
run.log("float", np.float32(0.5))
run.log("bool", np.bool_(True))
for place in range(10):
    run.log("steps", place**2, step=place)
run.log_list(name="fibonacci", value=[0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
for i in range(-10, 10):
    angle = i / 2.0
    run.log_row(name="Cosine Wave", angle=angle, cos=np.cos(angle))
    run.log_row(name="Sine Wave", description="a wave", angle=angle, sine=np.sin(angle))
run.log_table("Sine table", {"angle": [0.0, 1.0, 2.0], "sine": [0.0, 0.84, 0.9]})
run.log_table("one row", {"a": 1, "b": "x"})

matrix = {
    "schema_type": "confusion_matrix",
    "schema_version": "1.0.0",
    "data": {"class_labels": ["0", "1", "2"], "matrix": [[3, 0, 1], [0, 6, 0], [0, 0, np.int64(7)]]},
}
run.log_confusion_matrix("confusion", matrix, description="of three classes")
run.log_accuracy_table(
    "accuracy",
    {
        "schema_type": "accuracy_table",
        "schema_version": "1.0.1",
        "data": {
            "probability_tables": [[[82, 118, 0, 0], [75, 31, 87, 7]]],
            "percentile_tables": [[[82, 118, 0, 0]]],
            "probability_thresholds": [0.52],
            "percentile_thresholds": [0.09],
            "class_labels": ["0"],
        },
    },
)
run.log_residuals(
    "residuals",
    {
        "schema_type": "residuals",
        "schema_version": "1.0.0",
        "data": {"bin_edges": [50, 100, 200], "bin_counts": [0.88, 20], "mean": 1, "std": 2},
    },
)
run.log_predictions(
    "predictions",
    {
        "schema_type": "predictions",
        "schema_version": "1.0.0",
        "data": {
            "bin_averages": [0.25, 0.75],
            "bin_errors": [0.013, 0.042],
            "bin_counts": [56, 34],
            "bin_edges": [0.0, 0.5, 1.0],
        },
    },
)

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.plot([0.1, 0.2, 0.3])
    run.log_image(name="Hyperbolic Tangent", plot=plt)
    plotted = True
except ImportError:
    plotted = False
with open("picture.png", "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n")
run.log_image(name="a picture", path="picture.png")

for refused in (
    lambda: run.log("several", [1, 2]),
    lambda: run.log_image("none"),
    lambda: run.log_image("x", path="a", plot=1),
):
    try:
        refused()
    except Exception as error:
        print(type(error).__name__, error)
        assert type(error).__name__ == "UserErrorException"
    else:
        raise AssertionError("not refused")

os.makedirs("some/files", exist_ok=True)
for name in ("a.txt", "b.txt"):
    with open("some/files/" + name, "w") as file:
        file.write(name)
run.upload_folder(name="folder", path="some")
run.upload_files(["c.txt", "d/e.txt"], ["some/files/a.txt", "some/files/b.txt"])
run.upload_file("stream.txt", open("some/files/a.txt", "rb"))
try:
    run.upload_file("c.txt", "some/files/a.txt")
    raise AssertionError("a name was given twice")
except AssertionError:
    raise
except Exception as error:
    assert "Resource Conflict" in str(error), error

run.tag("kind", "sample")
run.set_tags({"n": 1, "gone": 2})
run.remove_tags(["gone"])
run.add_properties({"author": "me"})
try:
    run.add_properties({"author": "you"})
    raise SystemExit("a property was changed")
except Exception as error:
    print(error)
children = run.create_children(tag_key="fold", tag_values=["a", "b"])
for child in children:
    child.log("score", random.random())
    child.complete()
assert sorted(c.get_tags()["fold"] for c in run.get_children()) == ["a", "b"]
run.flush()
run.display_name = "shown"
run.description = "described"
run.complete()

fetched = Run.get(ws, run.id)
assert ws.get_run(run.id).id == run.id
metrics = fetched.get_metrics()
assert metrics == run.get_metrics()
assert metrics["number"] == 3 and metrics["bool"] is True and metrics["float"] == 0.5, metrics
assert metrics["steps"] == [n**2 for n in range(10)]
assert metrics["fibonacci"][-1] == 89
assert len(metrics["Sine Wave"]["angle"]) == 20
assert metrics["one row"] == {"a": 1, "b": "x"}
assert metrics["confusion"]["data"]["matrix"][2][2] == 7
assert fetched.get_metrics("fibonacci") == {"fibonacci": metrics["fibonacci"]}
assert fetched.get_metrics(name="nothing") == {}
names = fetched.get_file_names()
assert "folder/files/a.txt" in names and "d/e.txt" in names and "stream.txt" in names, names
fetched.download_file("c.txt", output_file_path="down/c.txt")
fetched.download_file(name="d/e.txt")
assert os.path.exists("e.txt") and open("down/c.txt").read() == "a.txt"
fetched.download_files(prefix="folder", output_directory="down")
assert os.path.exists("down/folder/files/b.txt")
fetched.download_files(prefix="folder", output_directory="down2", append_prefix=False)
assert os.path.exists("down2/files/b.txt"), [x for x in os.walk("down2")]
try:
    fetched.download_file("nothing.txt")
    raise SystemExit("found nothing.txt")
except Exception as error:
    assert "was not found" in str(error), error
assert fetched.get_status() == run.get_status() == "Completed"
assert fetched.get_tags()["n"] == "1" and "gone" not in fetched.tags
assert (
    fetched.get_properties()["author"] == "me"
    and fetched.display_name == "shown"
    and fetched.description == "described"
)
details = fetched.get_details()
for key in (
    "runId",
    "status",
    "startTimeUtc",
    "endTimeUtc",
    "properties",
    "logFiles",
    "inputDatasets",
    "outputDatasets",
    "runDefinition",
):
    assert key in details, (key, details)
assert [r.id for r in exp.get_runs()][0] == run.id
assert [r.id for r in Run.list(exp, tags="kind")] == [run.id]
assert [r.id for r in Run.list(exp, tags={"kind": "other"})] == []

exp.set_tags({"team": "a"})
exp.tag("kind", "sample")
exp.remove_tags(["kind"])
assert Experiment(ws, exp.name).tags == {"team": "a"}
assert [e.name for e in Experiment.list(ws, tags={"team": "a"})] == [exp.name]
assert Experiment.list(ws, tags="other") == []
assert ws.experiments[exp.name].id == exp.id

# what others add when it has ended
fetched.log("late", 1)
fetched.upload_file("late.txt", "some/files/a.txt")
fetched.log_image("late picture", path="picture.png")
below = fetched.child_run("below")
below.log("x", 1)
below.complete()
assert fetched.get_metrics("late") == {"late": 1}
assert "late.txt" in fetched.get_file_names()
assert below.id in [r.id for r in fetched.get_children()]

# failing and canceling ones
bad = exp.start_logging(snapshot_directory=None)
bad.fail(error_details="it went wrong", error_code="mine")
assert Run.get(ws, bad.id).get_status() == "Failed" and "it went wrong" in str(
    Run.get(ws, bad.id).get_details()["error"]
)
gone = exp.start_logging()
Run.get(ws, gone.id).cancel()
assert Run.get(ws, gone.id).get_status() == "Canceled"
try:
    with exp.start_logging() as broken:
        raise ValueError("inside")
except ValueError:
    pass
assert broken.get_status() == "Failed", broken.get_status()

offline = Run.get_context()
offline.log("x", 1)
assert offline.id.startswith("OfflineRun"), offline.id
assert offline.parent is None
try:
    Run.get_context(allow_offline=False)
    raise SystemExit("no run was found to be one")
except Exception as error:
    assert type(error).__name__ == "RunEnvironmentException", error
print("all well, plotted:", plotted)
