"""`fitserve`: the composition root. Commands are imported when they are called, so `--help` answers at once."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

import click

from gateway.cli.group import HelpfulGroup
from registry.errors import FitserveError

COMMANDS: Final = {
    "up": ("gateway.cli.up:up", "Train a script, register its model, serve it."),
    "train": ("gateway.cli.train:train", "Run a training script and keep what it logs and writes."),
    "sweep": ("gateway.cli.sweep:sweep", "Try many choices of a script's arguments, and find the best."),
    "register": ("gateway.cli.models:register", "Register a model file as the next version of a name."),
    "serve": ("gateway.cli.serve:serve", "Serve every registered model over HTTP."),
    "deploy": ("gateway.cli.services:deploy", "Let a model answer as a named service."),
    "services": ("gateway.cli.services:services", "List the deployed services."),
    "stop": ("gateway.cli.services:stop", "End the gateway that serves the workspace."),
    "exec": ("gateway.cli.shimmed:run", "Run a program written for Azure ML's SDK v1."),
    "notebook": ("gateway.cli.shimmed:notebook", "Start Jupyter for notebooks written for Azure ML's SDK v1."),
    "package": ("gateway.cli.package:package", "Write what an image, or Kubernetes, needs to serve models."),
    "entry-script": (
        "gateway.cli.entry_script:entry_script",
        "Begin a scoring script for files whose order is not known.",
    ),
    "models": ("gateway.cli.models:models", "List the registered models, or one with its versions."),
    "delete": ("gateway.cli.models:delete", "Delete a model or one of its versions."),
    "env": ("gateway.cli.env:env", "List, build and show environments; change the one a model is served in."),
    "runs": ("gateway.cli.runs:runs", "List the runs with their metrics, or show one with its files."),
    "logs": ("gateway.cli.logs:logs", "Show the log of a run or of a served model."),
    "score": ("gateway.cli.score:score", "Send rows to a served model and print its answer."),
    "prune": ("gateway.cli.prune:prune", "Free artifacts, interpreters and run folders that nothing needs."),
    "healthcheck": ("gateway.cli.healthcheck:healthcheck", "Ask the running gateway whether it is healthy."),
    "doctor": ("gateway.cli.doctor:doctor", "Tell what this machine can enforce, and what is installed."),
}


HIDDEN: Final = {"rpc": "gateway.cli.rpc:rpc", "run-package": "gateway.cli.package:run_package"}  # not for people


class LazyGroup(HelpfulGroup):
    """A group whose commands are a table: name → "module:attribute" and the line for `--help`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = HIDDEN.get(cmd_name) or COMMANDS.get(cmd_name, ("",))[0]
        if not place:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 the script or the model failed; 2 a wrong argument; 3 the machine or the workspace is not as it "
    "should be; 4 what was named is not there; 130 interrupted."
)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(version("fitserve"), prog_name="fitserve")
@click.option(
    "--workspace",
    "-w",
    metavar="FOLDER",
    help="The workspace. Default: FITSERVE_WORKSPACE, else what a config.json upwards names, else ./.fitserve",
)
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.pass_context
def cli(context: click.Context, workspace: str | None, debug: bool) -> None:
    """A training script goes in, a versioned HTTP endpoint with enforced CPU and memory limits comes out.

    \b
    fitserve up train.py                           train → register → serve
    fitserve register model.joblib --name iris     served within a second
    fitserve score iris '[[5.1, 3.5, 1.4, 0.2]]'   ask it
    """
    context.obj = {"workspace": workspace, "debug": debug}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: what a person can mend is one line and an exit code, see `EXIT_CODES`; the rest is a traceback."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if os.getpid() == 1:  # in a container: the kernel ignores a SIGTERM that the first process has no handler for
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    debug = "--debug" in arguments or "FITSERVE_DEBUG" in os.environ
    try:
        code: Any = cli.main(arguments, prog_name="fitserve", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except FitserveError as error:
        _fail(error, str(error), error.exit_code, debug)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone (`fitserve runs | head`): nothing is wrong, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except UnicodeEncodeError as error:
        _fail(error, "an argument holds bytes that are no text, which no name is made of", 2, debug)
    except OSError as error:  # a folder that goes away meanwhile, a disk that fails
        what = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        _fail(error, f"{what}{error.strerror or error}", 3, debug)


def _fail(error: BaseException, sentence: str, code: int, debug: bool) -> None:
    if debug:
        logging.getLogger("fitserve").error("traceback", exc_info=error)
    click.echo(f"fitserve: {sentence}", err=True)
    sys.exit(code)
