"""Groups of commands: a name that is misspelt, or another program's, gets the one that was meant."""

import difflib
from typing import Final

import click

#: What other programs call it.
_ELSEWHERE: Final = {
    "build": "package",
    "invoke": "score",
    "list": "models",
    "log": "logs",
    "ls": "models",
    "predict": "score",
    "ps": "services",
    "remove": "delete",
    "rm": "delete",
    "run": "train",
    "start": "serve",
    "status": "services",
    "submit": "train",
}
_SCRIPTS: Final = (".py", ".ipynb")


class HelpfulGroup(click.Group):
    """Says which command was meant when there is none of the name that was given."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}.{self._meant(ctx, name)}")
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, name: str) -> str:
        known = self.list_commands(ctx)
        if name.lower().endswith(_SCRIPTS) and "up" in known:
            return f" Did you mean '{ctx.command_path} up {name}'?"
        near = difflib.get_close_matches(name.lower(), known, 3) if len(name) <= 100 else []
        if name.lower() in near:
            near = [name.lower()]
        if not near and (elsewhere := _ELSEWHERE.get(name.lower())) in known:
            near = [str(elsewhere)]
        if not near:
            return ""
        return f" Did you mean {' or '.join(repr(word) for word in near)}?"
