"""The suites in this repository run on the installed plug-in."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Say how to install shipbench where its plug-in is missing."""
    if not config.pluginmanager.has_plugin("shipbench"):
        raise pytest.UsageError('shipbench is not installed here; run: python -m pip install -e ".[cpu,suites]"')
