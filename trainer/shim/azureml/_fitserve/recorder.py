"""Logging and file methods of a run."""

import os
import re
import time

from azureml._fitserve import values, wire
from azureml._fitserve.sinks import download, save_plot
from azureml.exceptions import UserErrorException


class Recorder(object):
    """The methods of a run that write to its sink."""

    def log(self, name, value, description="", step=None):
        self._metric(name, "scalar", _value(values.one_scalar, name, value), description, step)

    def log_list(self, name, value, description="", **kwargs):
        self._metric(name, "list", _value(values.many, name, value), description)

    def log_row(self, name, description=None, **kwargs):
        self._metric(name, "row", {key: values.scalar(value, name) for key, value in kwargs.items()}, description)

    def log_table(self, name, value, description="", **kwargs):
        self._metric(name, "table", _value(values.columns, name, value), description)

    def log_image(self, name, path=None, plot=None, description="", **kwargs):
        """Keep an image, given as a file's path or as a matplotlib plot."""
        if (path is None) == (plot is None):
            raise UserErrorException("run.log_image needs exactly one of path and plot for image {!r}".format(name))
        source = save_plot(plot) if path is None else path
        ending = os.path.splitext(source)[1] or ".png"
        file_name = "{}_{}{}".format(re.sub(r"[^A-Za-z0-9._ -]", "_", str(name)), int(time.time() * 1000), ending)
        try:
            with open(source, "rb") as stream:
                self._sink.keep_stream(file_name, stream)
        finally:
            if path is None:
                os.unlink(source)
        where = "aml://artifactId/ExperimentRun/dcid.{}/{}".format(self.id, file_name)
        self._metric(name, "image", where, description)

    def log_confusion_matrix(self, name, value, description="", **kwargs):
        self._structured(name, "confusion_matrix", value, description)

    def log_accuracy_table(self, name, value, description="", **kwargs):
        self._structured(name, "accuracy_table", value, description)

    def log_residuals(self, name, value, description="", **kwargs):
        self._structured(name, "residuals", value, description)

    def log_predictions(self, name, value, description="", **kwargs):
        self._structured(name, "predictions", value, description)

    # files

    def upload_file(self, name, path_or_stream, datastore_name=None):
        """Store a file with the run, as `name`, immediately."""
        name = str(name).replace(os.sep, "/")
        if not wire.is_plain_name(name):
            raise UserErrorException("{!r} is not a name for a run's file: give a relative path".format(name))
        if hasattr(path_or_stream, "read"):
            self._sink.keep_stream(name, path_or_stream)
            return
        if not os.path.isfile(path_or_stream):
            raise UserErrorException("cannot upload {} as {}: the file does not exist".format(path_or_stream, name))
        with open(path_or_stream, "rb") as stream:
            self._sink.keep_stream(name, stream)

    def upload_files(self, names, paths, return_artifacts=False, timeout_seconds=None, datastore_name=None):
        if len(names) != len(paths):
            raise UserErrorException(
                "run.upload_files needs as many names as paths, but got {} and {}".format(len(names), len(paths))
            )
        for name, path in zip(names, paths):
            self.upload_file(name, path)

    def upload_folder(self, name, path, datastore_name=None):
        if not os.path.isdir(path):
            raise UserErrorException("cannot upload {} as {}: the folder does not exist".format(path, name))
        for top, _, files in os.walk(path):
            for file_name in files:
                full = os.path.join(top, file_name)
                self.upload_file("{}/{}".format(name, os.path.relpath(full, path).replace(os.sep, "/")), full)

    def get_file_names(self):
        return self._sink.names()

    def download_file(self, name, output_file_path=None, **kwargs):
        """Copy a file of the run to `output_file_path`, by default to its base name in the current folder."""
        source = self._sink.find(name)
        if source is None:
            raise UserErrorException(
                "File with path {} was not found, available files include: {}".format(
                    name, ", ".join(self._sink.names())
                )
            )
        target = output_file_path or os.path.basename(name)
        if os.path.isdir(target):
            target = os.path.join(target, os.path.basename(name))
        download(source, target)

    def _metric(self, name, kind, value, description="", step=None):
        event = {"type": "metric", "name": str(name), "kind": kind, "value": value}
        if step is not None:
            event["step"] = int(step)
        if description:
            event["description"] = str(description)
        event["time"] = wire.now()
        self._sink.write(event)

    def _structured(self, name, kind, value, description):
        self._metric(name, kind, _value(values.structured, name, value, kind), description)


def _value(made, *given):
    """Convert a value for logging.

    Raises:
        UserErrorException: the value does not fit the logging call.
    """
    try:
        return made(*given)
    except values.NotLoggable as error:
        raise UserErrorException(str(error)) from None
