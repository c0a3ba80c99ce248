"""Uses what lies beside it, logs, and writes outputs. Runs under Python 3.6 with nothing installed."""
# ruff: noqa: I001  the registry is not ours

import argparse
import json
import os
import sys

import registry
import utils
from azureml.core.run import Run

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=0.5)
args = parser.parse_args()

run = Run.get_context()
print("run", run.id)
run.log("owner of registry", registry.OWNER)
run.log("doubled", utils.double(args.rate))
for epoch in range(3):
    run.log("loss", 1.0 / (epoch + 1), step=epoch)
run.log_list("sizes", [1, 2, 3])
run.log_row("point", x=1, y=2.5)
run.log_table("table", {"a": [1, 2], "b": ["x", "y"]})
run.tag("python", "{}.{}".format(*sys.version_info))
os.makedirs("outputs", exist_ok=True)
with open("outputs/result.json", "w") as file:
    json.dump({"argv": sys.argv[1:], "python": sys.version, "fitserve": "fitserve" in sys.modules}, file)
