"""`fitserve rpc`: what the azureml shim speaks with. Here, since it needs both the trainer and the gateway."""

import logging
import sys

import click


@click.command(hidden=True)
def rpc() -> None:
    """Answer the azureml shim's calls over the standard streams. Not for people."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="fitserve: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from gateway.client import rpc as gateways
    from trainer import operations as trainers
    from trainer.rpc import serve_standard_streams

    serve_standard_streams({**trainers.OPERATIONS, **gateways.OPERATIONS}, gateways.RAISES)
