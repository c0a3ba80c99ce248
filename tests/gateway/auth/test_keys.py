"""Keys: where they come from, and that what a person pastes is what opens the door."""

from pathlib import Path

import pytest

from gateway.auth.guard import Guard
from gateway.auth.keys import keys_in_force
from gateway.settings import Settings
from registry.errors import InvalidArgument
from registry.sdk.workspace import Workspace


@pytest.mark.parametrize("given", ["a-key-of-mine", "a-key-of-mine \n", "  a-key-of-mine"])
def test_blanks_round_a_key_do_not_lock_everybody_out(tmp_path: Path, given: str) -> None:
    with Workspace.open(tmp_path / "w") as workspace:
        keys = keys_in_force(workspace.metadata, Settings(), {"FITSERVE_KEY": given})
    guard = Guard()
    guard.update(keys.digests)
    guard.check({b"authorization": b"Bearer a-key-of-mine"})


@pytest.mark.parametrize("given", ["", "short", " " * 20])
def test_an_empty_or_short_key_is_refused(tmp_path: Path, given: str) -> None:
    """R9."""
    with Workspace.open(tmp_path / "w") as workspace, pytest.raises(InvalidArgument, match="use at least 8"):
        keys_in_force(workspace.metadata, Settings(), {"FITSERVE_KEY": given})


def test_a_key_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with Workspace.open(tmp_path / "w") as workspace:
        for file, reason in ((tmp_path / "missing", "No such file or directory"), (binary, "it is no text")):
            with pytest.raises(InvalidArgument, match=f"^key file: {file} cannot be read: {reason}$"):
                keys_in_force(workspace.metadata, Settings(key_file=str(file)), {})
