"""`fitserve package`: an image of models, and what Kubernetes needs to run it."""

from pathlib import Path
from typing import Any

import click

from gateway.cli.options import settings_options, take_settings
from gateway.settings import Settings
from registry.errors import InvalidArgument
from registry.sdk.workspace import Workspace


@click.command()
@click.argument("models", nargs=-1)
@click.option("--service", "services", multiple=True, metavar="NAME", help="A deployed service; repeat it.")
@click.option("--output", "-o", default="package", show_default=True, metavar="FOLDER", help="Where it is written.")
@click.option("--base", metavar="IMAGE", help="The image of fitserve to build on. Default: localhost/fitserve:VERSION.")
@click.option("--kubernetes", is_flag=True, help="Write manifests too, into FOLDER/kubernetes.")
@click.option(
    "--image",
    metavar="IMAGE",
    help="What the built image is called, and by its last word all in Kubernetes. Default: localhost/NAME:VERSION.",
)
@click.option(
    "--replicas",
    nargs=2,
    type=click.IntRange(1, 1000),
    default=(2, 6),
    metavar="LEAST MOST",
    help="Between how many pods Kubernetes chooses. Default: 2 6.",
)
@click.pass_obj
def package(
    obj: dict[str, Any],
    /,
    models: tuple[str, ...],
    services: tuple[str, ...],
    output: str,
    base: str | None,
    kubernetes: bool,
    image: str | None,
    replicas: tuple[int, int],
) -> None:
    """Write a build context with MODELS (NAME or NAME:VERSION; none means the latest version of each), from which
    `docker build` makes an image that serves them without a workspace.

    What is served, the releases that serve it, and its recorded answers go in; the same models give the same bytes.
    """
    from gateway.package import context, manifests
    from gateway.package.contents import collect
    from gateway.package.patterns import checked

    if replicas[0] > replicas[1]:
        raise InvalidArgument("--replicas", f"{replicas[0]} is more than {replicas[1]}")
    with Workspace.open(obj["workspace"], create=False) as workspace:
        contents = collect(workspace, models, services, say=click.echo)
        name = contents.services[0].name if contents.services else contents.models[0].record.name
        image = checked(
            "an image", image or f"localhost/{manifests.kubernetes_name(name)}:{contents.models[0].record.version}"
        )
        least, most = replicas
        plan = manifests.Plan.of(contents, image=image, least=least, most=most) if kubernetes else None
        made = manifests.files(plan) if plan else None
        context.write(workspace, contents, Path(output), base=base, manifests=made)
    for note in contents.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"packaged {', '.join(packaged.record.id for packaged in contents.models)} in {output}\n")
    click.echo(f"docker build -t {image} {output}")
    click.echo(f"docker run -p 8080:8080 {image}")
    if kubernetes:
        click.echo(f"\nopenssl rand -hex 32 > {output}/kubernetes/key.txt")
        click.echo(f"kubectl apply -k {output}/kubernetes")


@click.command("run-package")
@click.argument("folder", metavar="PACKAGE")
@click.option("--prepare", is_flag=True, help="Build the interpreters that it needs, and end.")
@settings_options
@click.pass_obj
def run_package(obj: dict[str, Any], /, folder: str, prepare: bool, **flags: Any) -> int:
    """Serve a package: what the image that is built from it does."""
    from gateway.cli.serve import serve_here
    from gateway.package import load

    if prepare:
        load.prepare(Path(folder), click.echo)
        return 0
    with Workspace.open(obj["workspace"]) as workspace:
        load.load(Path(folder), workspace)
        settings = Settings.load(take_settings(flags), file=workspace.root / "settings.toml")
        return serve_here(workspace, settings, lambda url: click.echo(f"serving {folder} at {url}"))
