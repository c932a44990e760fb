"""Fixtures for what talks to a Hub."""

from tests.hub.hub_fixtures import client, online  # noqa: F401
