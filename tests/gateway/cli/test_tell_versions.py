"""What a command says of the Python that serves a version."""

import pytest

from gateway.cli.models import tell_versions

ENTRY = {"written_by": "1.3.2", "served_with": "1.9.1", "environment": {"reason": "it was named at registration"}}


@pytest.mark.parametrize(("python", "said"), [("3.11.7", " on Python 3.11.7"), (None, "")])
def test_a_python_that_is_not_known_yet_is_not_named(
    python: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_versions({"facts": {**ENTRY, "python": python}})
    out = capsys.readouterr().out
    assert out == f"scikit-learn: written by 1.3.2, served with 1.9.1{said} (it was named at registration)\n"
