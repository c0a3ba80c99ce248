"""Where packages come from on this machine, as pip is configured, for installers that do not read pip's configuration.

uv reads neither `pip.conf` nor `PIP_*`; in a closed network it would then ask the public index and fail.
"""

import configparser
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SECTIONS: Final = ("global", "install")
_KEYS: Final = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "cert",
    "client-cert",
    "proxy",
    "timeout",
    "default-timeout",
    "no-binary",
    "only-binary",
)
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class PipSettings:
    """pip's own values, words as it splits them."""

    values: Mapping[str, tuple[str, ...]]

    @classmethod
    def of_this_machine(cls, variables: Mapping[str, str] = os.environ) -> "PipSettings":
        """From pip's files, lowest first, and then the variables, each replacing the one before. A file that pip could not
        read is passed over."""
        values: dict[str, tuple[str, ...]] = {}
        for path in _files(variables):
            parser = configparser.RawConfigParser()
            try:
                parser.read(path, encoding="utf-8")
            except (configparser.Error, UnicodeDecodeError, OSError):
                continue
            for section in _SECTIONS:
                if parser.has_section(section):
                    values |= {k.replace("_", "-"): tuple(v.split()) for k, v in parser.items(section)}
        for key in _KEYS:
            text = variables.get("PIP_" + key.upper().replace("-", "_"))
            if text:
                values[key] = tuple(text.split())
        return cls({key: value for key, value in values.items() if key in _KEYS})

    def uv_variables(self, variables: Mapping[str, str] = os.environ) -> dict[str, str]:
        """What to set for uv so that it asks where pip would ask. A variable that is already set wins.

        pip takes the best version of all its indexes; uv's default, the first index that knows the name, would miss
        versions.
        """
        given = {
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_DEFAULT_INDEX": " ".join(self._of("index-url")),
            "UV_INDEX": " ".join(self._of("extra-index-url")),
            "UV_FIND_LINKS": ",".join(self._of("find-links")),
            "UV_INSECURE_HOST": " ".join(self._of("trusted-host")),
            "UV_HTTP_TIMEOUT": "".join((self._of("timeout") or self._of("default-timeout"))[:1]),
            "SSL_CERT_FILE": "".join(self._of("cert")[:1]),
            "SSL_CLIENT_CERT": "".join(self._of("client-cert")[:1]),
            "HTTPS_PROXY": "".join(self._of("proxy")[:1]),
            "HTTP_PROXY": "".join(self._of("proxy")[:1]),
        }
        older = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
        return {
            key: value
            for key, value in given.items()
            if value and not (variables.get(key) or variables.get(older.get(key, key)) or variables.get(key.lower()))
        }

    def uv_flags(self) -> list[str]:
        """For `uv pip install`, what it has no variable for."""
        flags = ["--no-index"] if {value.lower() for value in self._of("no-index")} & _TRUE else []
        for key in ("no-binary", "only-binary"):
            for value in ",".join(self._of(key)).split(","):
                flags += [f"--{key}", value] if value else []
        return flags

    def _of(self, key: str) -> tuple[str, ...]:
        return self.values.get(key, ())


def _files(variables: Mapping[str, str]) -> list[Path]:
    named = variables.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(variables.get("HOME") or Path.home())
    shared = (variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    own = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    files = [*(Path(folder, "pip", "pip.conf") for folder in shared), Path("/etc/pip.conf")]
    files += [home / ".pip" / "pip.conf", own / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*files, Path(named)] if named else files
