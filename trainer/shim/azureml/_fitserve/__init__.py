"""What is behind the names of the SDK. Nothing here imports fitserve: it runs in the script's own Python."""
