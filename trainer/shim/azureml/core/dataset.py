"""`azureml.core.dataset`: tables and files by their paths on this machine."""

import os
import shutil

from azureml._fitserve.client import call
from azureml._fitserve.kinds import kind
from azureml._fitserve.texts import as_path
from azureml._fitserve.unsupported import Answering, refuse
from azureml.exceptions import UserErrorException

_LOCAL = "give the paths of local files, or upload them to the datastore"


class TabularDataset(Answering):
    """Delimited text files, read on demand by the caller's pandas."""

    _instead = "to_pandas_dataframe() returns a DataFrame, which can do that"

    def __init__(self, paths, options, name=None):
        self._paths, self._options, self.name = paths, options, name
        self.description, self.tags, self.version = None, {}, 1 if name else None

    @property
    def id(self):
        return self._paths[0]

    def to_pandas_dataframe(self, on_error="null", out_of_range_datetime="null"):
        import pandas  # late: an optional package of the caller's Python

        options = self._options
        header = "infer" if options.get("header", True) else None
        frames = [pandas.read_csv(path, sep=options.get("separator", ","), header=header) for path in self._paths]
        return frames[0] if len(frames) == 1 else pandas.concat(frames, ignore_index=True)

    def register(self, workspace, name, description=None, tags=None, create_new_version=False):
        """Store the dataset under a name; its files are not copied."""
        known = call("named.list", workspace=workspace._facts, kind="dataset")
        if name in known and not create_new_version:
            raise UserErrorException(
                "There is already a dataset registered under name {!r}; pass create_new_version=True".format(name)
            )
        value = {"kind": self._kind, "paths": self._paths, "options": self._options}
        call("named.put", workspace=workspace._facts, kind="dataset", name=name, value=value)
        self.name, self.version = name, 1
        return self

    def unregister_all_versions(self):
        return refuse("Dataset.unregister_all_versions", "register another one under the name")

    def as_named_input(self, name):
        """Returns itself: Azure mounts it in a run, here its path is the same inside and outside."""
        return self

    def _argument(self):
        """Its value as an argument of a script."""
        return self._paths[0]

    _kind = "tabular"

    def __repr__(self):
        return "{}(paths={!r}, name={!r})".format(type(self).__name__, self._paths, self.name)


class FileDataset(TabularDataset):
    """Files by their paths."""

    _instead = "download() and to_path() return the files"

    _kind = "files"

    def to_path(self):
        return ["/" + os.path.basename(path) for path in self._paths]

    def to_pandas_dataframe(self, *args, **kwargs):
        return refuse("FileDataset.to_pandas_dataframe", "use Dataset.Tabular")

    def download(self, target_path=None, overwrite=False, **kwargs):
        folder = as_path(target_path or "data")
        os.makedirs(folder, exist_ok=True)
        targets = [os.path.join(folder, os.path.basename(path)) for path in self._paths]
        for source, target in zip(self._paths, targets):
            if os.path.exists(target) and not overwrite:
                raise UserErrorException("{} exists; pass overwrite=True to replace it".format(target))
            shutil.copyfile(source, target)
        return targets

    def as_mount(self, path_on_compute=None):
        return self

    as_download = as_mount

    def _argument(self):
        return self._paths[0] if len(self._paths) == 1 else os.path.commonpath(self._paths)


class _Tabular(Answering):
    """`Dataset.Tabular`."""

    _instead = _LOCAL

    @staticmethod
    def from_delimited_files(
        path,
        validate=True,
        include_path=False,
        infer_column_types=True,
        set_column_types=None,
        separator=",",
        header=True,
        **kwargs,
    ):
        return TabularDataset(_paths(path), {"separator": separator, "header": bool(header)})

    @staticmethod
    def register_pandas_dataframe(dataframe, target, name, **kwargs):
        """Write a DataFrame as CSV into the datastore and register it."""
        store, folder = target if isinstance(target, tuple) else (target, "")
        path = store._path(os.path.join(folder or "", name + ".csv"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        dataframe.to_csv(path, index=False)
        made = TabularDataset([path], {"separator": ",", "header": True})
        return made.register(store.workspace, name, create_new_version=True)


class _File(Answering):
    """`Dataset.File`."""

    _instead = _LOCAL

    @staticmethod
    def from_files(path, validate=True, **kwargs):
        return FileDataset(_paths(path), {})


@kind("dataset")
class Dataset(Answering):
    Tabular = _Tabular()
    File = _File()

    @staticmethod
    def get_by_name(workspace, name, version="latest"):
        found = Dataset.get_all(workspace)
        if name not in found:
            raise UserErrorException(
                "dataset {!r} does not exist; registered: {}".format(name, ", ".join(sorted(found)) or "none")
            )
        return found[name]

    @staticmethod
    def get_all(workspace):
        found = call("named.list", workspace=workspace._facts, kind="dataset")
        kinds = {"tabular": TabularDataset, "files": FileDataset}
        return {name: kinds[value["kind"]](value["paths"], value["options"], name) for name, value in found.items()}

    @staticmethod
    def get_by_id(workspace, id):
        return refuse("Dataset.get_by_id", "datasets are known by their names")


def _paths(given):
    """Absolute paths of files, given as paths, as (datastore, path) pairs, or as lists of both."""
    if isinstance(given, tuple) and len(given) == 2 and hasattr(given[0], "_files"):
        store, relative = given
        found = store._files(relative)
    elif isinstance(given, (list, tuple)):
        return [path for each in given for path in _paths(each)]
    else:
        if "://" in str(given):
            return refuse("a dataset at a URL ({})".format(given), _LOCAL)
        path = as_path(given)
        found = [path] if os.path.isfile(path) else []
    if not found:
        raise UserErrorException("{} does not exist".format(given[1] if isinstance(given, tuple) else given))
    return found
