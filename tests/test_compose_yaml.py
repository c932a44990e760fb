"""compose.yaml: pinned as the project is, and closed to other machines. Docker itself is not needed."""

import re

import yaml

from tests.conftest import ROOT


def test_the_shared_server() -> None:
    text = (ROOT / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    locked = {
        line.strip()
        for name in ("requirements.lock", "requirements-cloud.lock")
        for line in (ROOT / name).read_text().splitlines()
    }
    installed = re.findall(r"[\w-]+==[\w.]+", services["mlflow"]["build"]["dockerfile_inline"])
    assert len(installed) == 3 and set(installed) <= locked
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)
    for service in services.values():  # keys come from the environment
        for key, value in service["environment"].items():
            assert not re.search("PASSWORD|KEY|URI", key) or "${" in value, key
