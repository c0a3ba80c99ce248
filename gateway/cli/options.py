"""Options that several commands share, and the values they turn into."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.settings import Settings
from registry.errors import InvalidArgument
from registry.limits import machine_cores
from registry.resources import DEFAULT_CPU, DEFAULT_MEMORY_IN_GB, ResourceConfiguration, parse_memory

Command = TypeVar("Command", bound=Callable[..., Any])


def resource_options(prefix: str = "", what: str = "the model") -> Callable[[Command], Command]:
    """`--cpu` and `--memory`, with a prefix such as ``train-``."""

    cpu_default = "" if what != "the model" else f" [default: {DEFAULT_CPU:g}]"
    memory_default = "" if what != "the model" else f" [default: {DEFAULT_MEMORY_IN_GB:g}]"

    def decorate(command: Command) -> Command:
        memory = click.option(
            f"--{prefix}memory",
            type=parse_memory,
            metavar="SIZE",
            help=f"Memory for {what}: 0.5 (GB) or 512Mi.{memory_default}",
        )
        cpu = click.option(f"--{prefix}cpu", type=float, help=f"Cores for {what}, such as 0.5 or 2.{cpu_default}")
        return cpu(memory(command))

    return decorate


def resources(cpu: float | None, memory: float | None) -> ResourceConfiguration:
    asked = ResourceConfiguration(cpu=cpu, memory_in_gb=memory)
    warn_of_cores(cpu)
    return asked


def warn_of_cores(cpu: float | None) -> None:
    """Say what is in force where more cores are asked for than there are. Another machine, which may serve, may have them."""
    cores = machine_cores()
    if cpu is not None and cpu > cores:
        click.echo(f"warning: {cpu:g} cores are asked for; on this machine at most {cores:g} are in force", err=True)


class SettingOption(click.Option):
    """An option of the gateway, which `up` lists apart from its own."""


class GroupedCommand(click.Command):
    """A command whose help lists its own options first and the gateway's in a group below them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        settings: list[tuple[str, str]] = []
        for option in self.get_params(ctx):
            if (record := option.get_help_record(ctx)) is not None:
                (settings if isinstance(option, SettingOption) else own).append(record)
        for title, records in (("Options", own), ("Options of the gateway, as in `fitserve serve`", settings)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def settings_options(command: Command) -> Command:
    """One option for each field of `Settings`; None when it was not given."""
    for option in reversed(fields(Settings)):
        flag = f"--{option.name.replace('_', '-')}"
        default = f" [default: {option.default}]" if option.default not in ("", False) else ""
        text = str(option.metadata["help"])
        help_ = f"{text[0].upper()}{text[1:]}.{default}"
        choices: tuple[str, ...] = option.metadata["choices"]
        if isinstance(option.default, bool):
            both = flag if option.name.startswith("no_") else f"{flag}/--no-{option.name.replace('_', '-')}"
            made = click.option(both, cls=SettingOption, is_flag=True, default=None, help=help_)
        else:
            kind: Any = click.Choice(choices) if choices else type(option.default)
            made = click.option(flag, cls=SettingOption, type=kind, default=None, help=help_)
        command = made(command)
    return command


def settings_from(flags: dict[str, Any], root: Path) -> Settings:
    return Settings.load(flags, file=root / "settings.toml")


def take_settings(flags: dict[str, Any]) -> dict[str, Any]:
    """Remove the settings from a command's keyword arguments and return them."""
    return {option.name: flags.pop(option.name, None) for option in fields(Settings)}


def pairs(texts: tuple[str, ...], what: str) -> dict[str, str]:
    """``("key=value", …)`` as a dict."""
    result = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidArgument(what, f"{text!r} is not of the form key=value")
        result[key] = value
    return result


strict_python_option = click.option(
    "--strict-python",
    is_flag=True,
    envvar="FITSERVE_STRICT_PYTHON",
    help="Refuse where the Python asked for is not at hand; else a newer one is taken.",
)
