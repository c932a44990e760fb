"""The Hub that the tests talk to speaks as the real one does: checked with git and with the library."""

import subprocess
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download

from tests.hub.hub_fixtures import COMMIT, REPO, SHARDS, Client
from tests.pipeline.loopback_hub import digests, files_of

BIG = SHARDS[0]


def git_id(folder: Path, data: bytes) -> str:
    command = ["git", "hash-object", "--stdin"]
    return (
        subprocess.run(command, cwd=folder, input=data, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


def test_blob_ids_are_gits(client: Client) -> None:
    folder = client.hub.folder
    listed = HfApi(endpoint=client.hub.endpoint).model_info(REPO, files_metadata=True).siblings or []
    assert {s.rfilename for s in listed} == {p.relative_to(folder).as_posix() for p in files_of(folder)}
    for sibling in listed:
        data = (folder / sibling.rfilename).read_bytes()
        assert sibling.size == len(data)
        if sibling.lfs is None:
            assert sibling.blob_id == git_id(folder, data)
        else:
            summed = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True)
            sha256 = summed.stdout.decode().split()[0]
            assert sibling.lfs.sha256 == sha256
            text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n"
            assert sibling.blob_id == git_id(folder, text.encode())


def test_the_tree_says_the_same_as_the_info(client: Client) -> None:
    api = HfApi(endpoint=client.hub.endpoint)
    info = {
        s.rfilename: (s.size, s.blob_id) for s in api.model_info(REPO, files_metadata=True).siblings or []
    }
    tree = {f.path: (f.size, f.blob_id) for f in api.list_repo_tree(REPO, recursive=True, revision=COMMIT)}
    assert tree == info


@pytest.mark.parametrize("storage", [False, True])
def test_the_library_downloads_from_it(client: Client, storage: bool) -> None:
    if storage:
        client.hub.faults.storage = client.hub.endpoint.replace("127.0.0.1", "localhost")
    meta = get_hf_file_metadata(hf_hub_url(REPO, BIG, revision=COMMIT, endpoint=client.hub.endpoint))
    assert (meta.commit_hash, meta.etag) == (COMMIT, digests(client.hub.folder / BIG)[0])
    assert meta.size == 300_000
    folder = Path(snapshot_download(REPO, revision=COMMIT, endpoint=client.hub.endpoint))
    for path in files_of(client.hub.folder):
        name = path.relative_to(client.hub.folder)
        assert (folder / name).read_bytes() == path.read_bytes()
