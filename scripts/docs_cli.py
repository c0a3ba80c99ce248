"""Write docs/cli.md, and the table of commands in docs/architecture.md, from the commands themselves: `make docs`.

Tests hold both pages against this script.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from gateway.cli.main import COMMANDS, EXIT_CODES, cli
from gateway.cli.options import SettingOption

DOCS: Final = Path(__file__).parent.parent / "docs"
MARKS: Final = ("<!-- commands -->\n", "<!-- end of commands -->\n")
#: What each command is about, in the order of the table.
NOUNS: Final = {
    "model": ("register", "models", "score", "delete"),
    "run": ("up", "train", "sweep", "runs"),
    "service": ("deploy", "services"),
    "gateway": ("serve", "stop", "healthcheck"),
    "log": ("logs",),
    "environment": ("env",),
    "package": ("package",),
    "Azure ML program": ("exec", "notebook"),
    "workspace": ("prune", "doctor"),
}
HEADER: Final = """# Commands

Generated from the commands by `make docs`. `fitserve COMMAND --help` prints the same.

`fitserve [--workspace FOLDER] [--debug] COMMAND …`: the workspace is `--workspace`, else `FITSERVE_WORKSPACE`, else what a `config.json` in
this folder or above names, else `./.fitserve`. Environment variables are in [settings](settings.md).

"""


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command that people use, groups before what they hold, with the context that its help is written in."""
    top = click.Context(cli, info_name="fitserve")
    for name in COMMANDS:
        command = cli.get_command(top, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=top)
        yield name, command, context
        if isinstance(command, click.Group):
            for part, inner in sorted(command.commands.items()):
                yield f"{name} {part}", inner, click.Context(inner, info_name=part, parent=context)


def page() -> str:
    return HEADER + "\n".join(_section(*found) for found in commands()) + f"\n## Exit codes\n\n{EXIT_CODES}\n"


def table() -> str:
    """Noun, command, what it does: the table in docs/architecture.md."""
    known = {name: command for name, command, _ in commands()}
    rows = ["| about | command | what it does |", "|---|---|---|"]
    for noun, names in NOUNS.items():
        for name in names:
            for full in [one for one in known if one == name or one.startswith(f"{name} ")]:
                line = COMMANDS[full][1] if full in COMMANDS else _first_line(known[full])
                rows.append(f"| {noun} | `fitserve {full}` | {line} |")
    return "\n".join(rows) + "\n"


def with_table(architecture: str) -> str:
    """The page with its table of commands made anew."""
    start, end = MARKS
    before, _, rest = architecture.partition(start)
    return before + start + table() + end + rest.partition(end)[2]


def _section(name: str, command: click.Command, context: click.Context) -> str:
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## fitserve {name}\n", f"```console\n$ fitserve {name} {usage}\n```\n", _prose(command.help or "")]
    options = [
        option
        for option in command.get_params(context)
        if isinstance(option, click.Option) and not option.hidden and "--help" not in option.opts
    ]
    own = [option for option in options if not isinstance(option, SettingOption)]
    if own:
        parts.append("| option | meaning |\n|---|---|")
        for option in own:
            record = option.get_help_record(context)
            assert record is not None
            parts.append(f"| `{_cell(record[0])}` | {_cell(record[1])} |")
        parts.append("")
    if len(own) < len(options):
        parts.append("The options of the gateway are in [settings](settings.md).\n")
    return "\n".join(parts)


def _prose(help_: str) -> str:
    """Click's help as Markdown: one line a paragraph."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", help_.replace("\b", ""))]
    return "\n\n".join(paragraphs) + "\n"


def _first_line(command: click.Command) -> str:
    return command.short_help or _prose(command.help or "").partition("\n")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def main() -> None:
    (DOCS / "cli.md").write_text(page(), encoding="utf-8")
    architecture = DOCS / "architecture.md"
    architecture.write_text(with_table(architecture.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
