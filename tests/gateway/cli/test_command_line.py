"""What the command line says: help for every option, and sentences in the words of who typed them."""

import io
import socket
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from gateway.cli.errors import refused
from gateway.cli.main import COMMANDS, cli, main
from gateway.cli.sweep import _print
from gateway.rundir.state import GatewayLock
from gateway.settings import Settings
from registry import services
from registry.model import Model
from registry.workspace import Workspace
from tests.e2e.models import iris_svc


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "ws") as opened:
        yield opened


def said(capsys: pytest.CaptureFixture[str], workspace: Workspace, *arguments: str) -> tuple[object, str, str]:
    """The exit code, and what stands on standard output and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["--workspace", str(workspace.root), *arguments])
    return end.value.code, *capsys.readouterr()


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {part}", each) for part, each in command.commands.items())


def test_every_command_and_option_says_what_it_is_for() -> None:
    for name, command in commands():
        assert command.help, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert " " in (option.help or ""), f"{name} {option.name}: a word is no help"


@pytest.mark.parametrize("command", [["env", "build"], ["env", "show"], ["env", "use", "iris"]])
def test_what_is_no_environment_is_called_as_it_was_given(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, tmp_path: Path, command: list[str]
) -> None:
    Model.register(workspace, iris_svc(tmp_path), "iris", show_output=False)
    code, _, error = said(capsys, workspace, *command, "nix.yml")
    assert (code, error.startswith("fitserve: ENVIRONMENT: nix.yml is no file")) == (2, True), error


def test_a_log_without_a_line_is_told_apart_from_none(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, tmp_path: Path
) -> None:
    Model.register(workspace, iris_svc(tmp_path), "iris", show_output=False)
    assert said(capsys, workspace, "logs", "iris") == (0, "", "iris has written nothing\n")


def test_a_service_that_exists_is_replaced_with_an_option_of_the_command(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, tmp_path: Path
) -> None:
    Model.register(workspace, iris_svc(tmp_path), "iris", show_output=False)
    services.deploy(workspace, "flowers", ["iris"])
    code, _, error = said(capsys, workspace, "deploy", "flowers", "iris")
    assert (code, "--overwrite" in error) == (2, True), error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--memory", "0"], "expected a number from 0.01 to 1048576"),
        (["--cpu", "5000"], "expected a number from 0.01 to 4096"),
    ],
)
def test_limits_are_told_in_plain_numbers(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    model = str(iris_svc(tmp_path))
    code, _, error = said(capsys, workspace, "register", model, "--name", "iris", *arguments)
    assert (code, sentence in error) == (2, True), error


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (404, 4), (413, 2), (415, 2), (401, 1), (429, 1), (500, 1), (503, 1)]
)
def test_exit_codes_tell_a_wrong_request_from_a_model_that_failed(status: int, code: int) -> None:
    assert refused(status, "no").exit_code == code


def test_help_fits_a_terminal_and_names_the_exit_codes(
    capsys: pytest.CaptureFixture[str], workspace: Workspace
) -> None:
    for command in ([], ["env"]):
        code, told, _ = said(capsys, workspace, *command, "--help")
        assert (code, max(map(len, told.splitlines())) <= 80, "..." in told.replace("[ARGS]...", "")) == (
            0,
            True,
            False,
        )
    assert "4 what was named" in " ".join(said(capsys, workspace, "--help")[1].split())


def test_up_lists_its_own_options_first_and_the_gateways_as_a_group(
    capsys: pytest.CaptureFixture[str], workspace: Workspace
) -> None:
    _, told, _ = said(capsys, workspace, "up", "--help")
    own, gateways = told.split("\nOptions of the gateway, as in `fitserve serve`:\n")
    for option in fields(Settings):
        flag = f"  --{option.name.replace('_', '-')} "
        assert (flag in own, flag in gateways) == (False, True), flag
    for flag in ("--name", "--cpu", "--train-memory", "-h, --help"):
        assert (f"  {flag} " in own or f"  {flag}  " in own, f"  {flag} " in gateways) == (True, False), flag


def test_a_sweeps_table_says_how_many_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    def rows(count: int) -> list[dict[str, Any]]:
        row = {"status": "Completed", "best_primary_metric": 0.5, "hyperparameters": '{"c": 1}'}
        return [{"run_id": f"run_{number}", **row} for number in range(count)]

    _print(rows(10), "Accuracy")
    assert len(capsys.readouterr().out.splitlines()) == 11
    _print(rows(12), "Accuracy")
    assert capsys.readouterr().out.splitlines()[-1].startswith("and 2 more")


def test_doctor_says_that_a_gateway_would_not_start(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITSERVE_LIMITS", "wishes")
    code, told, _ = said(capsys, workspace, "doctor")
    assert (code, "a gateway refuses to start: FITSERVE_LIMITS: 'wishes' is not one of" in told) == (3, True), told
    monkeypatch.setenv("FITSERVE_LIMITS", "none")
    code, told, _ = said(capsys, workspace, "doctor")
    assert (code, "none is used, as FITSERVE_LIMITS says" in told) == (3, True), told
    assert "none        holds nothing" in told


@pytest.mark.parametrize(
    "arguments", [["score", "iris", "[[1, 2, 3, 4]]"], ["score", "iris", "[[1]]", "--method", "predict"], ["register"]]
)
def test_a_gateway_that_cannot_be_reached_gets_a_sentence(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, tmp_path: Path, arguments: list[str]
) -> None:
    """As from another container that has the same volume."""
    if arguments == ["register"]:
        arguments = ["register", str(iris_svc(tmp_path)), "--name", "iris"]
    with socket.socket() as nobody, GatewayLock(workspace.root) as lock:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        lock.write(f"http://127.0.0.1:{port}", "127.0.0.1", port)
        code, _, error = said(capsys, workspace, *arguments)
    assert code == 3, error
    assert error.startswith(f"fitserve: the gateway at http://127.0.0.1:{port} did not answer: "), error
    assert error.count("\n") == 1


def test_gateways_that_share_the_database_are_not_overlooked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `docker compose run gateway register …`, in a container beside theirs."""
    monkeypatch.setenv("FITSERVE_WORKSPACE_FOLDER", str(tmp_path / "mine"))
    model = str(iris_svc(tmp_path))
    with pytest.raises(SystemExit):
        main(["--workspace", f"sqlite:///{tmp_path}/shared.db", "register", model, "--name", "iris"])
    told = capsys.readouterr().out
    assert "every gateway of this database serves it" in told


@pytest.mark.parametrize(
    "command",
    [
        ["up", "nope.py"],
        ["train", "nope.py"],
        ["register", "nope.joblib", "--name", "x"],
        ["sweep", "nope.py", "--metric", "m", "--param", "c=1"],
    ],
)
def test_a_misspelt_file_leaves_no_workspace_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--workspace", str(tmp_path / "new"), *command])
    assert end.value.code == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["modles"], "Did you mean 'models'?"),
        (["Serve"], "Did you mean 'serve'?"),
        (["predict", "iris"], "Did you mean 'score'?"),
        (["env", "biuld"], "Did you mean 'build'?"),
        (["train.py", "--name", "x"], "Did you mean 'fitserve up train.py'?"),
    ],
)
def test_a_misspelt_command_gets_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, arguments: list[str], meant: str
) -> None:
    code, _, error = said(capsys, workspace, *arguments)
    assert (code, error.count(meant)) == (2, 1), error


def test_what_is_no_command_at_all_gets_no_guess(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> None:
    code, _, error = said(capsys, workspace, "xyzzy")
    assert (code, "No such command 'xyzzy'." in error, "mean" in error) == (2, True, False), error


@pytest.mark.parametrize(
    ("answer", "code", "sentence", "left"),
    [("", 2, "give --yes", 1), ("n\n", 130, "interrupted", 1), ("y\n", 0, "", 0)],
)
def test_deleting_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    workspace: Workspace,
    tmp_path: Path,
    answer: str,
    code: int,
    sentence: str,
    left: int,
) -> None:
    Model.register(workspace, iris_svc(tmp_path), "iris", show_output=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    found, _, error = said(capsys, workspace, "delete", "iris")
    assert (found, sentence in error, len(Model.list(workspace))) == (code, True, left), error
