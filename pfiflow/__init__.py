"""pfiflow: the open toolkit for a French hospital's plateforme d'intermédiation (PFI).

The names below are the engine's public ones, imported when first used: `from pfiflow.xdm import pack` loads no engine.
The domain packages (`hl7 cda xds xdm segur mssante dmp terminology`) are usable alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfiflow.embedding import engine
    from pfiflow.errors import ConfigError, Deferred, PfiflowError, Problem, ProtocolError, Rejected
    from pfiflow.flow.component import BodyType, Component, Receipt, Registry
    from pfiflow.flow.engine import Changes, Engine, Outcome, Sent
    from pfiflow.flow.exchange import Exchange
    from pfiflow.flow.options import Address, Duration, Secret, Size, option
    from pfiflow.flow.redelivery import Redelivery
    from pfiflow.flow.route import ChannelSpec, EngineOptions, FlowDefinition, Route, StoreOptions
    from pfiflow.routefile import lint, load
    from pfiflow.store.memory import MemoryStore
    from pfiflow.store.sqlite import SqliteStore

__all__ = [
    "Address",
    "BodyType",
    "Changes",
    "ChannelSpec",
    "Component",
    "ConfigError",
    "Deferred",
    "Duration",
    "Engine",
    "EngineOptions",
    "Exchange",
    "FlowDefinition",
    "MemoryStore",
    "Outcome",
    "PfiflowError",
    "Problem",
    "ProtocolError",
    "Receipt",
    "Redelivery",
    "Registry",
    "Rejected",
    "Route",
    "Secret",
    "Sent",
    "Size",
    "SqliteStore",
    "StoreOptions",
    "engine",
    "lint",
    "load",
    "option",
]

_MODULES = {
    "pfiflow.errors": ("ConfigError", "Deferred", "PfiflowError", "Problem", "ProtocolError", "Rejected"),
    "pfiflow.flow.component": ("BodyType", "Component", "Receipt", "Registry"),
    "pfiflow.embedding": ("engine",),
    "pfiflow.flow.engine": ("Changes", "Engine", "Outcome", "Sent"),
    "pfiflow.flow.exchange": ("Exchange",),
    "pfiflow.flow.options": ("Address", "Duration", "Secret", "Size", "option"),
    "pfiflow.flow.redelivery": ("Redelivery",),
    "pfiflow.flow.route": ("ChannelSpec", "EngineOptions", "FlowDefinition", "Route", "StoreOptions"),
    "pfiflow.routefile": ("lint", "load"),
    "pfiflow.store.memory": ("MemoryStore",),
    "pfiflow.store.sqlite": ("SqliteStore",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'pfiflow' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
