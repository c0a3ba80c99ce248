"""`fitserve serve`, and what `up` shares with it: the gateway in the foreground."""

from collections.abc import Callable
from typing import Any

import click

from gateway.cli.options import settings_from, settings_options, take_settings
from gateway.cli.scope import enter_own_scope
from gateway.settings import Settings
from registry.sdk.workspace import Workspace


@click.command()
@settings_options
@click.pass_obj
def serve(obj: dict[str, Any], /, **flags: Any) -> int:
    """Serve every registered model of the workspace, each inside its limits, until SIGTERM or Ctrl-C.

    Every option is also FITSERVE_<NAME> in the environment, and a key of settings.toml in the workspace.
    """
    with Workspace.open(obj["workspace"]) as workspace:
        given = take_settings(flags)
        settings = settings_from(given, workspace.root)
        enter_own_scope(settings)
        return serve_here(
            workspace,
            settings,
            lambda url: click.echo(f"serving {workspace.root} at {url}"),
            reload=lambda: settings_from(given, workspace.root),
        )


def serve_here(
    workspace: Workspace,
    settings: Settings,
    on_ready: Callable[[str], None],
    reload: Callable[[], Settings] | None = None,
) -> int:
    """Run the supervisor in this process until it is told to stop; gives its exit code.

    Args:
        reload: reads the settings again, at SIGHUP.

    Raises:
        OperatorError: the port is in use, or another gateway serves this workspace.
    """
    from gateway.http.logging import set_up
    from gateway.supervisor.supervisor import serve as supervise

    set_up(settings.log_level)
    if settings.no_auth and not settings.is_loopback:
        click.echo(f"warning: {settings.host} is served without a key, as asked for by --no-auth", err=True)
    return supervise(workspace, settings, on_ready=on_ready, reload=reload)
