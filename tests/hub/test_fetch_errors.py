"""What a Hub may answer instead: one clear line each, waiting that ends, and no secret told."""

import email.utils
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.hub import fetch, retries
from steadyphi.hub.retries import Retry
from tests.conftest import ROOT
from tests.hub.hub_fixtures import COMMIT, REPO, SHARDS, Client, environment, make_checkpoint
from tests.pipeline.loopback_hub import Answer, Faults, start

TOKEN = "hf_secretsecretsecretsecret"
BIG = SHARDS[0]


def refusal(client: Client, **changes: object) -> str:
    with pytest.raises(SteadyPhiError) as caught:
        client.fetch(**changes)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(str(changes.get("source", REPO)))
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    return text


# --- one line each ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "token", "says"),
    [
        (401, {}, None, "no such repository on {host} (401), or it is private and needs HF_TOKEN"),
        (401, {}, TOKEN, "no such repository on {host} (401), or the token cannot read it"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, TOKEN, "the token (401)"),
        (401, {"X-Error-Code": "GatedRepo"}, None, "gated (401); accept its terms at http"),
        (403, {"X-Error-Code": "GatedRepo"}, TOKEN, "/microsoft/phi-2 with this token's account"),
        (403, {"X-Error-Code": "GatedRepo"}, None, "set HF_TOKEN to a token of that account"),
        (403, {}, TOKEN, "denies access (403): the token has no permission"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, None, "has disabled this"),
        (404, {"X-Error-Code": "RepoNotFound"}, None, "no such repository on {host} (404)"),
        (404, {}, None, "no such repository"),
        (404, {"X-Error-Code": "RevisionNotFound"}, None, "no such revision (404)"),
        (429, {}, None, "asks for fewer requests (429) repeatedly"),
        (429, {"Retry-After": "3600"}, None, "and to wait 3600 s; run it again later"),
        (429, {"RateLimit": '"api";r=0;t=700'}, None, "and to wait 700 s"),
        (500, {}, None, "the server returned an error (500) repeatedly"),
        (503, {}, None, "the server returned an error (503) repeatedly"),
        (451, {"X-Error-Message": "not in your country"}, None, "refuses (451): not in your country"),
    ],
)  # fmt: skip
def test_a_refused_listing(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    headers: dict[str, str],
    token: str | None,
    says: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    client.hub.faults.answers.append(Answer("/api/models", status, headers, times=1000))
    text = refusal(client)
    assert says.format(host=client.hub.endpoint.removeprefix("http://")) in text
    assert TOKEN not in text


def test_what_is_not_there(client: Client) -> None:
    assert "no such repository" in refusal(client, source="microsoft/phi-9")
    assert "no such revision" in refusal(client, revision="a" * 40)
    assert "neither a folder nor a repository's name" in refusal(client, source="no/such/folder")
    client.hub.faults.answers.append(Answer(f"/resolve/.*{BIG}", 404, {"X-Error-Code": "EntryNotFound"}))
    text = refusal(client)
    assert f"{BIG}: " in text and "lists this file but does not have it (404)" in text


def test_a_hub_that_is_not_there(online: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(make_checkpoint(tmp_path / "hub"), (REPO, COMMIT)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    text = refusal(Client(tmp_path, server))
    assert "the connection failed (ConnectError" in text and server.endpoint.removeprefix("http://") in text


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub", "http://", "http://hub:port", "file:///x"])
def test_an_endpoint_that_is_no_address(
    client: Client, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(SteadyPhiError, match=r"HF_ENDPOINT: .* is not the address of a Hub"):
        client.fetch()


# --- waiting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/models", f"/resolve/.*{BIG}"])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_a_failure_that_passes_is_waited_for(client: Client, path: str, status: int) -> None:
    client.hub.faults.answers.append(Answer(path, status, times=3))
    client.fetch()
    assert client.whole() and client.hub.faults.answers[0].times == 0


@pytest.mark.parametrize("form", ["seconds", "date", "ratelimit"])
def test_the_wait_is_as_long_as_asked_and_said_once(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    monkeypatch.setattr(retries, "RETRY", Retry(wait=0.01, longest=0.02, total=5))
    date = email.utils.formatdate(time.time() + 2, usegmt=True)  # whole seconds
    headers = {
        "seconds": {"Retry-After": "1"},
        "date": {"Retry-After": date},
        "ratelimit": {"RateLimit": '"resolvers";r=0;t=1'},
    }[form]
    # All files at once are asked to wait.
    client.hub.faults.answers.append(Answer("/resolve/", 429, headers, times=4))
    started = time.monotonic()
    client.fetch()
    assert 0.9 < time.monotonic() - started < 3 and client.whole()
    lines = [line for line in capsys.readouterr().err.splitlines() if "fewer requests" in line]
    assert len(lines) == 1 and "(429); trying again in" in lines[0]


def test_a_hub_that_always_asks_to_wait_is_left_in_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Retry-After: 0` for ever is not asked for ever."""
    monkeypatch.setattr(retries, "RETRY", Retry(wait=0.01, longest=0.05, total=0.3))
    client.hub.faults.answers.append(Answer("/api/models", 429, {"Retry-After": "0"}, times=10_000))
    assert "(429)" in refusal(client)
    assert 5 <= len(client.hub.requests) < 20


def test_a_refusal_that_does_not_pass_is_not_repeated(client: Client) -> None:
    client.hub.faults.answers.append(Answer("/api/models", 403, {"X-Error-Code": "GatedRepo"}, times=9))
    refusal(client)
    assert len(client.hub.requests) == 1


# --- secrets ------------------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_and_nowhere_else(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Large files are redirected to another host; what is asked of it has no token."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    client.hub.faults.token = TOKEN
    with start(client.hub.folder, faults=Faults()) as storage:
        client.hub.faults.storage = storage.endpoint
        client.fetch()
        assert client.whole()
        assert {r.authorization for r in client.hub.requests} == {f"Bearer {TOKEN}"}
        assert len(storage.requests) == 2 and {r.authorization for r in storage.requests} == {None}
        # Also when it has to go on there.
        for path in (client.cache / "files").iterdir():
            path.unlink()
        storage.requests.clear()
        storage.faults.cut[BIG] = [1000]
        client.fetch()
        assert {r.range for r in storage.gets(BIG)} == {None, "bytes=1000-"}
        assert {r.authorization for r in storage.requests} == {None}


FAILURES = {
    "none": None,
    "bad token": Answer("/api", 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, 99),
    "gated": Answer("/api", 403, {"X-Error-Code": "GatedRepo"}, 99),
    "told back": Answer("/api", 418, {"X-Error-Message": f"you sent Bearer {TOKEN}"}, 99),
    "told back in the body": Answer("/api", 400, {}, 99, b'{"error": "token ' + TOKEN.encode() + b'"}'),
    "storage fails": Answer("/storage/", 503, {}, 9999),
    "storage forbids": Answer("/storage/", 403, {}, 9999),
    "storage redirects badly": Answer(
        "/storage/", 302, {"Location": f"http://u:{TOKEN}@127.0.0.1:1/?s={TOKEN}"}, 999
    ),
}  # fmt: skip


def test_text_of_others_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    text = f"no http://u:pw@h/a?sig=x 'https://t@h/?s=y'\nBearer {TOKEN} user@example.org"
    assert retries.clean(text) == "no http://***@h/a 'https://***@h/' Bearer *** user@example.org"
    assert len(retries.clean("x" * 9999)) == 300


SECRETS = (TOKEN, "mirror-password", "signature-secret")


@pytest.mark.parametrize("failure", FAILURES)
def test_no_secret_is_told(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    failure: str,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(retries, "RETRY", Retry(wait=0.001, longest=0.01, total=0.1))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    client.hub.faults.storage = client.hub.endpoint.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("HF_ENDPOINT", client.hub.endpoint.replace("//", "//user:mirror-password@"))
    told = ""
    if answer := FAILURES[failure]:
        client.hub.faults.answers.append(answer)
        told = refusal(client)
        answer.times = 0
    else:
        told = str(client.fetch())
    written = [p for p in client.base.rglob("*") if p.is_file() and client.hub.folder not in p.parents]
    told += "".join(capsys.readouterr()) + "".join(r.getMessage() for r in caplog.records)
    for secret in SECRETS:
        assert secret not in told
        assert not [p for p in written if secret.encode() in p.read_bytes()]


def test_a_process_with_a_token_says_nothing_but_its_progress(client: Client) -> None:
    client.hub.faults.storage = client.hub.endpoint.replace("127.0.0.1", "localhost")
    script = (
        "import logging, sys; from pathlib import Path; from steadyphi.hub import fetch; "
        "logging.basicConfig(level='INFO'); i = Path(sys.argv[1]); i.mkdir(); "
        "fetch.fetch(sys.argv[2], sys.argv[3], i, Path(sys.argv[4]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(client.weights), REPO, COMMIT, str(client.cache)],
        cwd=ROOT,
        env=environment(client) | {"HF_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=True,
    )
    assert client.whole() and not [s for s in SECRETS if s in done.stdout + done.stderr]
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


@pytest.mark.parametrize("token", ["hf_ümlaut", "hf_two words", "hf_tab\tbed"])
def test_a_token_that_is_none_is_not_quoted(
    client: Client, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SteadyPhiError, match="HF_TOKEN: has characters that no token has") as caught:
        client.fetch()
    assert token not in str(caught.value)
    assert os.environ["HF_TOKEN"] == token


def test_a_listing_by_name(client: Client) -> None:
    listing = fetch.listing(REPO, None)
    assert listing.commit == COMMIT and listing.files[BIG].kind == "sha256"
    assert listing.files["config.json"].kind == "git" and "onnx/model.safetensors" not in listing.files
