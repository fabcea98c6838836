"""The public names: all there, and no engine loaded by who uses a domain package alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pfiflow


@pytest.mark.parametrize("name", pfiflow.__all__)
def test_a_public_name_is_what_its_module_calls_so(name: str) -> None:
    assert getattr(pfiflow, name) is not None
    assert name in dir(pfiflow)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pfiflow.nothing


def test_a_domain_package_alone_loads_no_engine() -> None:
    code = (
        "import sys; from pfiflow.xdm import pack; from pfiflow.hl7 import er7\n"
        "heavy = ('anyio', 'asyncio', 'sqlite3', 'aiohttp', 'fpdf', 'xmlschema', 'hl7apy')\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
