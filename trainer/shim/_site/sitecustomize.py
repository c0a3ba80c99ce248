"""Imported by every Python that `fitserve exec` starts, since this folder is on its PYTHONPATH. Python 3.6 and later.

Removes its own folder from the path and appends the shim, but only if no `azureml.core` is found without it: PYTHONPATH
itself would put the shim before an installed azureml. Then it imports the `sitecustomize` that it hides.
"""


def _give_way():
    import importlib.machinery
    import os
    import sys

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    spec = importlib.machinery.PathFinder.find_spec("azureml", sys.path)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not any(os.path.exists(os.path.join(folder, part)) for folder in folders for part in ("core", "core.py")):
        sys.path.append(os.path.dirname(here))
    ours = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        sys.modules["sitecustomize"] = ours  # the import system expects it
        if error.name != "sitecustomize":
            raise


_give_way()
