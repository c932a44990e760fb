"""Fixtures for what talks to a Hub."""

from tests.checkpoint.hub_fixtures import client, online  # noqa: F401
