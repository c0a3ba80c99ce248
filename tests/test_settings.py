"""Settings: flag before environment before file before default, and a sentence for each wrong value."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from gateway.settings import Settings, option_table
from registry.errors import InvalidArgument


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('port = 1111\nidle_s = 5\nhost = "127.0.0.2"\n')
    settings = Settings.load({"port": 3333, "host": None}, {"FITSERVE_PORT": "2222", "FITSERVE_IDLE_S": "7"}, file)
    assert (settings.port, settings.idle_s, settings.host) == (3333, 7.0, "127.0.0.2")
    assert settings.http_processes == Settings().http_processes


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"port": 70000}, "70000 is not a port"),
        ({"port": "x"}, "not of type int"),
        ({"http_processes": 0}, "less than 1"),
        ({"start": "later"}, "not one of ahead, first-use"),
        ({"drain_s": float("nan")}, "not of type float"),
        ({"http_processes": True}, "not of type int"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        Settings.load(values, {})


def test_a_wrong_environment_variable_is_named() -> None:
    with pytest.raises(InvalidArgument, match="FITSERVE_PORT"):
        Settings.load({}, {"FITSERVE_PORT": "eighty"})


def test_an_unknown_variable_is_named_with_what_is_meant() -> None:
    with pytest.raises(InvalidArgument, match=r"FITSERVE_PROT: no such variable; did you mean FITSERVE_PORT\?"):
        Settings.load({}, {"FITSERVE_PROT": "8081"})
    with pytest.raises(InvalidArgument, match=r"FITSERVE_COLOUR: no such variable; there is: .*FITSERVE_ACCESS_LOG"):
        Settings.load({}, {"FITSERVE_COLOUR": "red"})


def test_every_variable_that_our_sources_name_is_known() -> None:
    root = Path(__file__).parent.parent
    sources = [path for package in ("registry", "trainer", "gateway") for path in (root / package).rglob("*.py")]
    sources += [root / "compose.yaml", root / "Dockerfile"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    named = set(re.findall(r"\bFITSERVE_[A-Z][A-Z_]*[A-Z]\b", text))
    assert len(named) > 20
    Settings.load({}, dict.fromkeys(named - {variable for _, variable, _, _ in option_table()}, "1"))


def test_variables_by_which_kubernetes_names_services_are_none_of_ours() -> None:
    links = {
        "FITSERVE_SERVICE_HOST": "10.0.0.7",
        "FITSERVE_SERVICE_PORT_HTTP": "8080",
        "FITSERVE_PORT": "tcp://10.0.0.7:8080",
        "FITSERVE_PORT_8080_TCP_ADDR": "10.0.0.7",
        "FITSERVE_IRIS_PORT": "tcp://10.0.0.8:8080",
        "FITSERVE_IRIS_SERVICE_HOST": "10.0.0.8",
    }
    assert Settings.load({}, links) == Settings()


def test_an_unknown_key_of_the_file_is_named_with_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("prot = 1\n")
    with pytest.raises(InvalidArgument, match=r"prot in settings\.toml: no such option; there is: .*port"):
        Settings.load({}, {}, file)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("port: 1")
    with pytest.raises(InvalidArgument, match=r"settings\.toml: not TOML"):
        Settings.load({}, {}, file)


def test_settings_survive_json() -> None:
    settings = Settings(port=0, host="0.0.0.0", no_auth=True)
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("127.example.com", False),
    ],
)
def test_a_key_is_asked_for_on_every_address_but_loopback(host: str, loopback: bool) -> None:
    assert Settings(host=host).needs_key is not loopback
    assert not Settings(host=host, no_auth=True).needs_key
    assert Settings(host=host, require_key=True).needs_key


def test_every_option_has_a_row_in_the_table() -> None:
    assert len(option_table()) == len(fields(Settings))
    assert all(meaning for *_, meaning in option_table())
