"""HF_HUB_OFFLINE: what was fetched before, by us or by the library, is enough; what lacks is named."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from steadyphi.errors import SteadyPhiError
from steadyphi.hub import fetch, hf_cache
from tests.hub.hub_fixtures import COMMIT, NEEDED, REPO, SHARDS, Client

BIG = SHARDS[0]


def go_offline(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    client.hub.requests.clear()


@pytest.fixture
def downloaded(client: Client) -> Client:
    """A client whose machine has the repository in huggingface_hub's cache."""
    snapshot_download(REPO, revision=COMMIT, endpoint=client.hub.endpoint)
    return client


def test_what_was_fetched_before_is_enough(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    online = client.fetch()
    go_offline(client, monkeypatch)
    assert client.fetch() == online and client.whole()
    assert client.fetch(revision=None) == online
    assert not client.hub.requests


def test_what_the_library_fetched_is_enough(downloaded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(downloaded, monkeypatch)
    made = downloaded.fetch()
    assert downloaded.whole() and made["revision"] == COMMIT and not downloaded.hub.requests


def follow_links() -> Path:
    """Make the library's cache as on Windows or after `cp -rL`: files in the snapshot, and no blobs."""
    cache = hf_cache.folder(REPO)
    copied = shutil.copytree(cache, cache.with_name("copied"), symlinks=False)
    shutil.rmtree(cache)
    copied.rename(cache)
    shutil.rmtree(cache / "blobs")
    return cache / "snapshots" / COMMIT


def test_a_cache_of_files_instead_of_links_is_enough(
    downloaded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = follow_links()
    go_offline(downloaded, monkeypatch)
    assert Path(snapshot_download(REPO, revision=COMMIT, local_files_only=True)) == snapshot
    assert not any(path.is_symlink() for path in snapshot.iterdir())
    made = downloaded.fetch()
    assert downloaded.whole() and made["revision"] == COMMIT and not downloaded.hub.requests


def test_a_cache_of_files_is_verified_online(downloaded: Client) -> None:
    """The Hub lists the digests then, and only a file that differs from them is downloaded."""
    wrong = follow_links() / BIG
    wrong.write_bytes(bytes(wrong.stat().st_size))
    downloaded.hub.requests.clear()
    downloaded.fetch()
    assert downloaded.whole()
    assert [name for name in sorted(NEEDED) if downloaded.hub.gets(name)] == [BIG]


def test_a_branch_is_what_it_was(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot_download(REPO, endpoint=client.hub.endpoint)
    go_offline(client, monkeypatch)
    assert client.fetch(revision=None)["revision"] == COMMIT and client.whole()


def test_the_librarys_blobs_are_verified(downloaded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = (hf_cache.folder(REPO) / "snapshots" / COMMIT / BIG).resolve()
    blob.write_bytes(bytes(blob.stat().st_size))
    go_offline(downloaded, monkeypatch)
    with pytest.raises(
        SteadyPhiError, match=f"local {BIG} differs from the Hub's listing; unset HF_HUB_OFFLINE"
    ):
        downloaded.fetch()
    assert BIG not in {p.name for p in downloaded.weights.iterdir()}


def test_blobs_that_cannot_be_linked_are_copied(downloaded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(self: Path, target: Path) -> None:
        raise OSError(18, "another file system")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    go_offline(downloaded, monkeypatch)
    downloaded.fetch()
    assert downloaded.whole()
    blob = (hf_cache.folder(REPO) / "snapshots" / COMMIT / BIG).resolve()
    blob.write_bytes(bytes(blob.stat().st_size))
    shutil.rmtree(downloaded.cache)
    with pytest.raises(SteadyPhiError, match=f"local {BIG} differs from the Hub's listing"):
        downloaded.fetch()


def test_nothing_is_known(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(client, monkeypatch)
    for revision in (COMMIT, None, "main"):
        with pytest.raises(SteadyPhiError, match=r"HF_HUB_OFFLINE is set, but neither .* has it") as caught:
            client.fetch(revision=revision)
        assert "\n" not in str(caught.value)
    with pytest.raises(SteadyPhiError, match="HF_HUB_OFFLINE is set"):
        fetch.listing(REPO, COMMIT)
    assert not client.hub.requests


def test_another_commit_was_fetched(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.fetch()
    go_offline(client, monkeypatch)
    with pytest.raises(SteadyPhiError, match="HF_HUB_OFFLINE is set, but neither"):
        client.fetch(revision="b" * 40)


def test_files_that_lack_are_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.fetch()
    for name in NEEDED:
        if name != "LICENSE":
            (client.cache / "files" / name).unlink()
    go_offline(client, monkeypatch)
    with pytest.raises(SteadyPhiError, match=r"config.json, merges.txt, model-00001\S+ and 3 more can only"):
        client.fetch()


def test_half_a_snapshot_is_not_taken_for_a_whole_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's cache may hold some files of a commit only; the index tells."""
    snapshot_download(REPO, revision=COMMIT, endpoint=client.hub.endpoint, ignore_patterns=[BIG])
    go_offline(client, monkeypatch)
    with pytest.raises(SteadyPhiError, match=f"{BIG}: is listed in .* but does not exist"):
        client.fetch()
