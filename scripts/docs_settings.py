"""Write docs/settings.md from the options themselves: `python scripts/docs_settings.py`. A test holds the page against it."""

from pathlib import Path

from gateway.settings import option_table

HEADER = """# Settings

Where a value comes from, first that applies: the flag of `fitserve serve` and `fitserve up`, the environment variable,
`settings.toml` in the workspace (the same names with underscores), the default. Times are in seconds unless the name says
ms; MB are 10⁶ bytes, GB are 2³⁰ bytes. A misspelt key of the file or a misspelt `FITSERVE_…` variable is an error that names what is
meant.

| option | environment variable | default | meaning |
|---|---|---|---|
"""

FOOTER = """
Environment variables that are no option of the gateway:

| variable | meaning |
|---|---|
| `FITSERVE_WORKSPACE` | the workspace, where `--workspace` is not given: a folder, or `postgresql://…` |
| `FITSERVE_WORKSPACE_FOLDER` | where a workspace in a database keeps its files; without it `.fitserve` in the current folder |
| `FITSERVE_ARTIFACTS` | URL of the store for the artifacts of a workspace that is opened for the first time, such as `file:///srv/artifacts`; without it a folder of the workspace |
| `FITSERVE_KEY` | the bearer key: a gateway that finds it asks for it, a command that finds it sends it |
| `FITSERVE_LIMITS` | `cgroup2`, `cgroup1`, `watchdog` or `none`: hold limits this way or refuse to start |
| `FITSERVE_DEBUG` | show tracebacks of errors, as `--debug` does |
| `FITSERVE_STRICT_PYTHON` | 1: refuse where the Python that an environment asks for is not at hand, as `--strict-python` does |
| `FITSERVE_CONDA` | the conda, mamba or micromamba that makes conda environments, or `never`; without it the one on the PATH |
| `FITSERVE_PYTHON_DOWNLOADS` | `never`: uv downloads no Python that an environment asks for and that is not at hand |
| `FITSERVE_SNAPSHOT_MAX_MB`, `FITSERVE_SNAPSHOT_MAX_FILES` | limits of a run's snapshot, 300 and 2000 |
| `AML_SNAPSHOT_NO_FILE_LIMIT` | Azure's switch: any number of files in a snapshot |
"""


def page() -> str:
    rows = [
        f"| `{option}` | `{variable}` | {default} | {meaning} |"
        for option, variable, default, meaning in option_table()
    ]
    return HEADER + "\n".join(rows) + "\n" + FOOTER


if __name__ == "__main__":
    Path(__file__).parent.parent.joinpath("docs", "settings.md").write_text(page(), encoding="utf-8")
