"""`azureml.core.conda_dependencies`."""

import os

from azureml._fitserve.client import call
from azureml._fitserve.texts import as_path
from azureml._fitserve.unsupported import Answering, refuse

DEFAULT_SDK_ORIGIN = "https://pypi.org/simple"


class CondaDependencies(Answering):
    """Python version, conda packages and pip packages, which fitserve interprets."""

    def __init__(self, conda_dependencies_file_path=None, _underlying_structure=None):
        self.python_version = None
        self._conda = []
        self._pip = []
        self._pip_options = []
        self._channels = []
        if conda_dependencies_file_path is not None:
            self._take(call("environment.from_conda", name="file", path=as_path(conda_dependencies_file_path)))

    @staticmethod
    def create(
        pip_indexurl=None, pip_packages=None, conda_packages=None, python_version=None, pin_sdk_version=True, **kwargs
    ):
        """Azure's default `python_version` is 3.10; here None means fitserve's own Python."""
        made = CondaDependencies()
        for package in conda_packages or ():
            made.add_conda_package(package)
        for package in pip_packages or ():
            made.add_pip_package(package)
        if python_version is not None:
            made.set_python_version(python_version)
        if pip_indexurl is not None:
            made.set_pip_index_url(pip_indexurl)
        return made

    def _take(self, description):
        self.python_version = description["python"]
        self._conda = list(description["conda"])
        self._pip = list(description["pip"])
        self._pip_options = list(description["pip_options"])
        self._channels = list(description.get("channels") or [])

    @property
    def conda_packages(self):
        return list(self._conda)

    @property
    def pip_packages(self):
        return list(self._pip)

    @property
    def pip_options(self):
        return list(self._pip_options)

    @property
    def conda_channels(self):
        return list(self._channels)

    def add_pip_package(self, pip_package):
        if pip_package not in self._pip:
            self._pip.append(pip_package)

    def remove_pip_package(self, pip_package):
        self._pip = [package for package in self._pip if package != pip_package]

    def add_conda_package(self, conda_package):
        name, separator, version = conda_package.partition("=")
        if name.strip() == "python" and separator:
            self.set_python_version(version.lstrip("="))
        elif conda_package not in self._conda:
            self._conda.append(conda_package)

    def remove_conda_package(self, conda_package):
        self._conda = [package for package in self._conda if package != conda_package]

    def add_channel(self, channel):
        """Used if conda builds the environment; without conda, packages come from PyPI."""
        if channel not in self._channels:
            self._channels.append(channel)

    def remove_channel(self, channel):
        self._channels = [each for each in self._channels if each != channel]

    def set_python_version(self, version):
        self.python_version = str(version)

    def get_python_version(self):
        return self.python_version

    def set_pip_index_url(self, index_url):
        self._pip_options = [option for option in self._pip_options if not option.startswith("--index-url")]
        self._pip_options.append("--index-url {}".format(index_url))

    def set_pip_option(self, pip_option):
        if pip_option not in self._pip_options:
            self._pip_options.append(pip_option)

    def set_pip_requirements(self, pip_requirements):
        self._pip = [line.strip() for line in pip_requirements if line.strip()]

    def serialize_to_string(self):
        """A conda environment file."""
        lines = (["channels:"] if self._channels else []) + ["- {}".format(channel) for channel in self._channels]
        lines += ["dependencies:"]
        lines += ["- python={}".format(self.python_version)] if self.python_version else []
        lines += ["- {}".format(package) for package in self._conda]
        if self._pip or self._pip_options:
            lines += ["- pip:"] + ["  - {}".format(line) for line in self._pip_options + self._pip]
        return "\n".join(lines) + "\n"

    def save_to_file(self, base_directory, conda_file_path=None):
        path = os.path.join(str(base_directory), conda_file_path or "conda_dependencies.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.serialize_to_string())
        return path

    def as_dict(self):
        return refuse("CondaDependencies.as_dict", "serialize_to_string returns the file's text")
