"""`azureml.core.datastore`: a folder of the workspace with the interface of Azure's blob store."""

import glob
import os
import shutil

from azureml._fitserve.client import call
from azureml._fitserve.kinds import kind
from azureml._fitserve.unsupported import Answering, refuse
from azureml.exceptions import UserErrorException

DEFAULT = "workspaceblobstore"


@kind("datastore")
class Datastore(Answering):
    """The workspace's one datastore."""

    def __init__(self, workspace, name=None):
        if name not in (None, DEFAULT):
            raise UserErrorException("datastore {} does not exist; the only one is {}".format(name, DEFAULT))
        self.workspace, self.name = workspace, DEFAULT
        self._folder = call("workspace.data_folder", workspace=workspace._facts, name=DEFAULT)

    datastore_type = "AzureBlob"

    @staticmethod
    def get(workspace, datastore_name):
        return Datastore(workspace, datastore_name)

    @staticmethod
    def get_default(workspace):
        return Datastore(workspace)

    @staticmethod
    def register_azure_blob_container(*args, **kwargs):
        return refuse("Datastore.register_azure_blob_container", "copy the files here with upload_files")

    def path(self, path=None):
        return (self, path or "")

    def upload_files(self, files, relative_root=None, target_path=None, overwrite=False, show_progress=True):
        """Copy files to the datastore under their base names, or their paths relative to `relative_root`."""
        for file in files:
            name = os.path.basename(file) if relative_root is None else os.path.relpath(file, relative_root)
            target = self._path(os.path.join(target_path or "", name))
            if os.path.exists(target) and not overwrite:
                if show_progress:
                    print("Target already exists. Skipping upload for {}".format(name))
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(file, target)
            if show_progress:
                print("Uploaded {}".format(name))
        return (self, target_path or "")

    def upload(self, src_dir, target_path=None, overwrite=False, show_progress=True):
        """Copy a folder's files to the datastore."""
        files = [os.path.join(top, name) for top, _, names in os.walk(src_dir) for name in names]
        return self.upload_files(files, src_dir, target_path, overwrite, show_progress)

    def download(self, target_path, prefix=None, overwrite=False, show_progress=True):
        """Copy the files below `prefix` to a folder; returns their number."""
        count = 0
        for path in self._files(prefix or ""):
            target = os.path.join(target_path, os.path.relpath(path, self._folder))
            if overwrite or not os.path.exists(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(path, target)
                count += 1
        return count

    def _path(self, relative):
        path = os.path.normpath(os.path.join(self._folder, str(relative).lstrip("/")))
        if path != self._folder and not path.startswith(self._folder + os.sep):
            raise UserErrorException("{} leads out of the datastore".format(relative))
        return path

    def _files(self, relative):
        """Absolute paths of a file, of all files below a folder, or of those that match a pattern with *."""
        top = self._path(relative)
        if os.path.isfile(top):
            return [top]
        if os.path.isdir(top):
            return sorted(os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names)
        return sorted(path for path in glob.glob(top, recursive=True) if os.path.isfile(path))

    def __repr__(self):
        return "Datastore(name={}, folder={})".format(self.name, self._folder)
