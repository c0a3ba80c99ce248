"""`azureml.widgets`: status of a run as text."""

from azureml._fitserve.unsupported import Answering


class RunDetails(Answering):
    """Prints the status and metrics of a run when `show` is called."""

    def __init__(self, run_instance):
        self._run = run_instance

    def show(self, render_lib=None, widget_settings=None):
        details = self._run.get_details()
        print("RunId: {}".format(details["runId"]))
        print("Status: {}".format(details["status"]))
        for name, value in sorted(self._run.get_metrics().items()):
            print("{}: {}".format(name, value))

    def get_widget_data(self, widget_settings=None):
        return {"status": self._run.get_status(), "run_metrics": self._run.get_metrics()}
