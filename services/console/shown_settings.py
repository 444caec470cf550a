"""The settings as this process was given them, without anything secret. Pure."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta

from services.settings import (
    PREFIX,
    AgentsSettings,
    Common,
    SettingError,
    UpdaterSettings,
    WorkerSettings,
    load,
)
from services.settings_gateway import GatewaySettings

HIDDEN = "(hidden)"
_KINDS: tuple[tuple[str, type[Common]], ...] = (
    ("gateway", GatewaySettings),
    ("agents", AgentsSettings),
    ("worker", WorkerSettings),
    ("updater", UpdaterSettings),
)
_SECRET_NAMES = re.compile(r"password|secret|token|credential", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=//)[^/@\s]*@")
_SECRET_OPTIONS = re.compile(r"(?i)([\w.-]*(?:password|secret|token|key)[\w.-]*=)[^&\s]+")


class Setting(NamedTuple):
    """One setting as it may be shown."""

    variable: str
    value: str
    default: str
    meaning: str

    @property
    def changed(self) -> bool:
        """Whether it is not its default."""
        return self.value != self.default


class Service(NamedTuple):
    """One service's settings, or why they cannot be read."""

    name: str
    settings: Common | None
    problem: str


def collected(own: GatewaySettings, environ: Mapping[str, str]) -> list[Service]:
    """Every service's settings as this process' environment says; a service with another environment has others."""
    common = {name: getattr(own, name) for name in Common.__struct_fields__}
    found = []
    for name, kind in _KINDS:
        try:
            found.append(Service(name, own if kind is GatewaySettings else load(kind, environ, **common), ""))
        except SettingError as error:
            found.append(Service(name, None, masked(str(error))))
    return found


def masked(text: str) -> str:
    """An address without whom it names before `@`, and without passwords among its options."""
    return _SECRET_OPTIONS.sub(rf"\1{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", text))


def rows(service: Service) -> list[Setting]:
    """What is the service's own; of the gateway what all have in common too."""
    settings = service.settings
    if settings is None:
        return []
    shared = frozenset() if isinstance(settings, GatewaySettings) else frozenset(Common.__struct_fields__)
    hints = get_type_hints(type(settings), include_extras=True)
    return [
        Setting(
            PREFIX + field.name.upper(),
            _said(hints[field.name], field.name, getattr(settings, field.name)),
            _said(hints[field.name], field.name, field.default),
            _meaning(hints[field.name]),
        )
        for field in msgspec.structs.fields(type(settings))
        if field.name not in shared
    ]


def _said(hint: Any, name: str, value: object) -> str:
    secret = any((meta.extra or {}).get("secret") for meta in _metas(hint)) or _SECRET_NAMES.search(name)
    text = str(value)
    return HIDDEN if secret and text else masked(text)


def _meaning(hint: Any) -> str:
    return next((meta.description for meta in _metas(hint) if meta.description), "")


def _metas(hint: Any) -> list[Meta]:
    return [meta for meta in get_args(hint) if isinstance(meta, Meta)]
