"""Downloads a Python that is not installed, by uv where that is allowed; afterwards it is found like any other."""

import os
from typing import Final

from registry.environments import installers
from registry.environments.pip_settings import PipSettings
from registry.environments.pythons import PythonRange
from registry.environments.tool_process import InstallFailed, Progress, run_tool

SETTING: Final = "FITSERVE_PYTHON_DOWNLOADS"
_FORBIDDEN: Final = frozenset({"never", "manual", "0", "false", "no"})


def download(asked: str, progress: Progress) -> str | None:
    """Let uv download a Python that meets `asked`, ``3.9`` or ``>=3.8,<3.11``; None, or why it did not."""
    for variable in (SETTING, "UV_PYTHON_DOWNLOADS"):
        if os.environ.get(variable, "").lower() in _FORBIDDEN:
            return f"{variable} forbids a download"
    uv = installers.find_uv()
    if uv is None:
        return "uv, which could download it, is not installed"
    progress(f"Python {asked} is not installed; asking uv to download it")
    variables = {
        **PipSettings.of_this_machine().uv_variables(),
        "UV_PYTHON_DOWNLOADS": "automatic",
        "UV_PYTHON_INSTALL_BIN": "0",  # not onto the user's PATH
        "UV_NO_PROGRESS": "1",
        "UV_HTTP_RETRIES": os.environ.get("UV_HTTP_RETRIES", "1"),
    }
    command = [str(uv), "python", "install", asked]
    try:
        run_tool(command, uv.parent, variables, progress, installers.uv_problem)
    except InstallFailed as failure:
        return f"uv could not download it: {failure}"
    return None


def request_for(asked: PythonRange | None, wheels: tuple[int, int] | None) -> str | None:
    """What to ask uv for; any patch of a minor version will do."""
    if asked is None:
        return None if wheels is None else f">=3.{wheels[0]},<3.{wheels[1] + 1}"
    if asked.exact is not None:
        return ".".join(map(str, asked.exact[:2]))
    return asked.text.replace(" ", "").replace(".*", "")
