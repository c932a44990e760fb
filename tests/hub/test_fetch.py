"""Fetch from a Hub on the loopback: which files, which commit, what the manifest says, room and names."""

import json
import ntpath
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock
from huggingface_hub import HfApi, snapshot_download
from hypothesis import given
from hypothesis import strategies as st

from steadyphi.checkpoint import manifest
from steadyphi.errors import SteadyPhiError
from steadyphi.files import sha256
from steadyphi.hub import space
from steadyphi.hub.listing import Listed, Listing, check_name, choose
from tests.conftest import ROOT
from tests.hub.hub_fixtures import COMMIT, NEEDED, REPO, SHARDS, Client, environment
from tests.pipeline.loopback_hub import Answer

PHI = "microsoft/phi-2"
INDEX, BIN_INDEX = "model.safetensors.index.json", "pytorch_model.bin.index.json"


def test_the_files_that_are_needed_arrive_whole_and_are_in_the_manifest(client: Client) -> None:
    made = client.fetch()
    assert client.whole()
    assert (made["source"], made["revision"], set(made["files"])) == (REPO, COMMIT, NEEDED)
    for name, facts in made["files"].items():
        path = client.hub.folder / name
        assert facts == {"size": path.stat().st_size, "sha256": sha256(path)}
    asked = [r.path.split("?")[0] for r in client.hub.requests]
    # The listing, and each needed file once: nothing else is even asked for.
    assert len(asked) == len(set(asked)) == 1 + len(NEEDED)


def test_no_large_file_is_hashed_twice(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> str:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(manifest, "sha256", fails)
    assert client.fetch()["files"].keys() == NEEDED


def test_a_second_fetch_takes_no_bytes(client: Client) -> None:
    client.fetch()
    served = client.hub.served.copy()
    client.fetch()
    assert client.whole() and client.hub.served == served


def test_a_small_file_is_checked_too(client: Client) -> None:
    """Its git blob id is what the Hub lists; here it is corrupt each time it comes."""
    client.hub.faults.corrupt["config.json"] = 2
    with pytest.raises(SteadyPhiError, match=r"config.json: has a different git blob id .* fetched twice"):
        client.fetch()


def test_a_branch_is_resolved_and_said(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    made = client.fetch(revision=None)
    assert made["revision"] == COMMIT
    assert f"its default branch is {COMMIT} now" in capsys.readouterr().err


def test_another_commit_than_asked_for_is_refused(client: Client) -> None:
    client.hub.repos[REPO] = "a" * 40
    body = json.dumps({"id": REPO, "sha": "a" * 40, "siblings": []}).encode()
    client.hub.faults.answers.append(Answer("/api/models", 200, body=body))
    with pytest.raises(SteadyPhiError, match="lists another commit"):
        client.fetch()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>sign in to the airport's wifi</html>",
        b"[]",
        b'{"id": "x"}',
        json.dumps({"id": PHI, "sha": COMMIT, "siblings": [{"rfilename": "config.json"}]}).encode(),
        json.dumps({"id": PHI, "sha": COMMIT, "siblings": [{"rfilename": "a", "size": -1}]}).encode(),
    ],
)
def test_what_is_no_listing_is_one_line(client: Client, body: bytes) -> None:
    client.hub.faults.answers.append(Answer("/api/models", 200, body=body))
    with pytest.raises(
        SteadyPhiError, match=r"other than a listing|another commit|without a valid size or digest"
    ) as caught:
        client.fetch()
    assert "\n" not in str(caught.value)


# --- which weights ----------------------------------------------------------------------------------


def add_bin(folder: Path) -> set[str]:
    for number in (1, 2):
        (folder / f"pytorch_model-0000{number}-of-00002.bin").write_bytes(b"pickle")
    index = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}
    (folder / BIN_INDEX).write_text(json.dumps(index))
    return {*index["weight_map"].values(), BIN_INDEX}


def test_safetensors_are_preferred_and_either_can_be_forced(client: Client) -> None:
    bins = add_bin(client.hub.folder)
    tensors = {*SHARDS, INDEX}
    for forced in (None, True):
        assert set(client.fetch(from_safetensors=forced)["files"]) == NEEDED
    assert set(client.fetch(from_safetensors=False)["files"]) == NEEDED - tensors | bins
    for name in tensors:
        (client.hub.folder / name).unlink()
    assert set(client.fetch()["files"]) == NEEDED - tensors | bins
    with pytest.raises(
        SteadyPhiError, match=r"only .bin weights, but fetch.from_safetensors: true requires safetensors"
    ):
        client.fetch(from_safetensors=True)


def test_a_repository_without_weights(client: Client) -> None:
    for name in SHARDS:
        (client.hub.folder / name).unlink()
    with pytest.raises(SteadyPhiError, match=r"has no weights, neither safetensors nor \.bin"):
        client.fetch()
    with pytest.raises(SteadyPhiError, match=r"has only safetensors weights, but \S+ false requires \.bin"):
        choose(PHI, {"model.safetensors": Listed("model.safetensors", 1, "none", "")}, False, local=False)


def test_a_shard_that_the_index_names_and_the_hub_lacks(client: Client) -> None:
    (client.hub.folder / SHARDS[1]).unlink()
    with pytest.raises(SteadyPhiError, match=f"{SHARDS[1]}: is listed in .*index.json but does not exist"):
        client.fetch()


# --- names ------------------------------------------------------------------------------------------


def inside(name: str) -> bool:
    """Whether the name, joined to a folder and made plain, is below it, on Unix and on Windows."""
    for join, normal, sep in (
        (os.path.join, os.path.normpath, "/"),
        (ntpath.join, ntpath.normpath, "\\"),
    ):
        base = f"C:{sep}base" if sep == "\\" else "/base"
        try:
            if not normal(join(base, *name.split("/"))).startswith(base + sep):
                return False
        except ValueError:  # a NUL
            return False
    return "\0" not in name


PIECES = st.sampled_from(
    ["..", ".", "", "/", "\\", "C:", "a", "model.safetensors", "\0", "..\\", " ", "//", "c:x"]
)


@given(
    st.one_of(
        st.text(max_size=20),
        st.lists(PIECES, max_size=5).map("/".join),
        st.lists(PIECES, max_size=5).map("".join),
    )
)
def test_no_accepted_name_leaves_the_folder(name: str) -> None:
    try:
        check_name(PHI, name)
    except SteadyPhiError as error:
        assert "\n" not in str(error) and repr(name) in str(error)
    else:
        assert inside(name)


@given(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}){0,3}", fullmatch=True)
)
def test_plain_names_are_accepted(name: str) -> None:
    check_name(PHI, name)


@pytest.mark.parametrize(
    "name", ["../config.json", "/etc/passwd", "a/../../x.json", "..\\x.json", "C:x.json"]
)
def test_a_name_that_leads_outside_is_refused_before_any_byte(client: Client, name: str) -> None:
    client.hub.faults.listed_names["config.json"] = name
    with pytest.raises(SteadyPhiError, match="could lie outside its folder") as caught:
        client.fetch()
    assert repr(name) in str(caught.value)
    assert not client.hub.served


# --- room -------------------------------------------------------------------------------------------


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_room_is_looked_for_first(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum((client.hub.folder / name).stat().st_size for name in NEEDED)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(size, 1, size - 1))
    amounts = r"needs 470\.\d\d kB more on the disk of .* where 470\.\d\d kB are free; free 1 bytes"
    with pytest.raises(SteadyPhiError, match=amounts):
        client.fetch()
    assert not client.hub.served
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(size, 0, size))
    client.fetch()
    # What is there already needs no room, nor does a link to it.
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(size, size, 0))
    client.fetch()
    assert client.whole()


def test_where_nothing_can_be_linked_there_must_be_room_for_both(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(self: Path, target: Path) -> None:
        raise PermissionError(1, "no links here")

    size = sum((client.hub.folder / name).stat().st_size for name in NEEDED)
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(0, 0, 2 * size - 1))
    with pytest.raises(SteadyPhiError, match="are free"):
        client.fetch()
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: Usage(0, 0, 2 * size))
    assert client.fetch()["files"].keys() == NEEDED
    assert client.whole() and (client.weights / SHARDS[0]).stat().st_nlink == 1


# --- two at once, and the cache of huggingface_hub --------------------------------------------------


def test_a_second_process_waits_for_the_first(client: Client) -> None:
    client.cache.mkdir()
    script = (
        "import sys; from pathlib import Path; from steadyphi.hub import fetch; i = Path(sys.argv[1]); "
        "i.mkdir(); fetch.fetch(sys.argv[2], sys.argv[3], i, Path(sys.argv[4]))"
    )
    arguments = [str(client.weights), REPO, COMMIT, str(client.cache)]
    with FileLock(client.cache / ".lock"):
        other = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT,
            env=environment(client),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert other.stderr is not None
        assert "another process is fetching it; waiting" in other.stderr.readline()
        assert not client.hub.requests
    other.communicate(timeout=60)
    assert other.returncode == 0 and client.whole()


def test_files_in_the_librarys_cache_are_used_and_verified(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = snapshot_download(REPO, revision=COMMIT, endpoint=client.hub.endpoint)
    blob = (Path(snapshot) / SHARDS[1]).resolve()
    data = bytearray(blob.read_bytes())
    data[7] ^= 1
    blob.write_bytes(data)
    client.hub.served.clear()
    client.fetch()
    assert client.whole()
    assert set(client.hub.served) == {SHARDS[1]}  # the rest was at hand, this one was corrupt


# --- settings and the stage ---------------------------------------------------------------------------


def test_progress_has_rate_and_time_left(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    client.fetch()
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"fetch: 100% \| [\d.]+[kMG]? B/s \| \d+:\d\d so far, 0:00 left", last)


def test_a_listing_survives_being_saved(tmp_path: Path) -> None:
    files = {"config.json": Listed("config.json", 3, "git", "a" * 40)}
    Listing(PHI, COMMIT, files).save(tmp_path / "listing.json")
    assert Listing.load(tmp_path / "listing.json") == Listing(PHI, COMMIT, files)
    for broken in ("", "[]", "{}", '{"source": 1, "files": 2}'):
        (tmp_path / "listing.json").write_text(broken)
        assert Listing.load(tmp_path / "listing.json") is None


def test_the_setting_reaches_the_stage(tmp_path: Path) -> None:
    from steadyphi.settings.compose import compose
    from steadyphi.settings.files import stage_files

    (tmp_path / "assets" / "phi-tiny").mkdir(parents=True)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    assert compose({}, tmp_path / "conf").fetch.from_safetensors is None
    settings = compose({"fetch": {"from_safetensors": False}}, tmp_path / "conf")
    assert "from_safetensors: false" in stage_files(settings)["fetch"]
    with pytest.raises(SteadyPhiError, match="from_safetensors"):
        compose({"fetch": {"from_safetensors": "no"}}, tmp_path / "conf")


def test_the_library_sees_the_same_hub(client: Client) -> None:
    info = HfApi(endpoint=client.hub.endpoint).model_info(REPO, revision=COMMIT, files_metadata=True)
    assert info.sha == COMMIT and {s.rfilename for s in info.siblings or []} > NEEDED
