"""Implementation of the shim. Nothing here imports fitserve, since it runs in the script's own Python."""
