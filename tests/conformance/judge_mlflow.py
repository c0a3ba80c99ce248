"""MLflow's scoring client against a gateway: /invocations as its own servers answer it. Needs mlflow."""

import sys
from urllib.parse import urlsplit

import pandas as pd
from mlflow.deployments import PredictionsResponse
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

address = urlsplit(sys.argv[1])
client = ScoringServerClient(str(address.hostname), int(address.port or 80))
client.ping()  # raises
answer = client.invoke(pd.DataFrame([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]))
assert isinstance(answer, PredictionsResponse)
assert answer.get_predictions("ndarray").ravel().tolist() == [0, 2], answer
