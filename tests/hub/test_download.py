"""Downloads that are cut, killed, corrupted or too long: what arrived is kept, what is wrong never used."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.hub import retries
from steadyphi.hub.download import partial
from steadyphi.hub.listing import Listed
from steadyphi.progress import Progress
from tests.conftest import ROOT
from tests.hub.hub_fixtures import COMMIT, REPO, SHARDS, Client, environment, make_checkpoint
from tests.pipeline.loopback_hub import Answer, digests

BIG = SHARDS[0]
SIZE = 300_000
FETCH = """
import sys
from pathlib import Path
from steadyphi.hub import fetch
from steadyphi.tracking.stage_run import _sigterm_exits
into = Path(sys.argv[1]); into.mkdir(exist_ok=True)
with _sigterm_exits():
    fetch.fetch(sys.argv[2], sys.argv[3], into, Path(sys.argv[4]))
"""


def begun(client: Client, name: str = BIG) -> Path:
    """Return where the file lies while it is not whole."""
    path = client.hub.folder / name
    sha256, git = digests(path)
    large = name.endswith(".safetensors")
    listed = Listed(name, path.stat().st_size, "sha256" if large else "git", sha256 if large else git)
    return partial(client.cache / "files", listed)


def ranges(client: Client, name: str = BIG) -> list[str | None]:
    return [r.range for r in client.hub.gets(name)]


# --- the network --------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
def test_a_cut_connection_is_taken_up_where_it_ended(client: Client, announced: bool) -> None:
    """The answer's length tells the end from a cut; without it the listed size does."""
    client.hub.faults.lengths = announced
    cuts = [1, 65_536, 65_537, 150_000, SIZE - 1]
    client.hub.faults.cut[BIG] = list(cuts)
    client.fetch()
    assert client.whole() and client.hub.served[BIG] == SIZE
    assert ranges(client) == [None, *(f"bytes={cut}-" for cut in cuts)]


@pytest.mark.parametrize("announced", [True, False])
def test_a_line_that_stays_cut_ends_in_one_line_and_the_next_process_goes_on(
    client: Client, announced: bool
) -> None:
    client.hub.faults.lengths = announced
    client.hub.faults.cut[BIG] = [100_000] * retries.RETRY.tries
    with pytest.raises(SteadyPhiError, match="the connection failed") as caught:
        client.fetch()
    text = str(caught.value)
    assert BIG in text and "the received data is kept" in text and "\n" not in text
    assert begun(client).stat().st_size == 100_000
    assert len(ranges(client)) == retries.RETRY.tries
    client.hub.requests.clear()
    client.fetch()
    assert client.whole() and ranges(client) == ["bytes=100000-"] and client.hub.served[BIG] == SIZE


def test_progress_renews_the_patience(client: Client) -> None:
    client.hub.faults.cut[BIG] = list(range(10_000, SIZE, 20_000))  # more cuts than there are tries
    assert len(client.hub.faults.cut[BIG]) > 2 * retries.RETRY.tries
    client.fetch()
    assert client.whole() and client.hub.served[BIG] == SIZE


def test_a_server_without_ranges_starts_again(client: Client) -> None:
    client.hub.faults.ranges = False
    client.hub.faults.cut[BIG] = [100_000, 200_000]
    client.fetch()
    assert client.whole() and client.hub.served[BIG] == 100_000 + 200_000 + SIZE


def test_another_range_than_asked_for_is_not_written(client: Client) -> None:
    begun(client).parent.mkdir(parents=True)
    begun(client).write_bytes((client.hub.folder / BIG).read_bytes()[:1000])
    wrong = {"Content-Range": f"bytes 0-1/{SIZE}"}
    client.hub.faults.answers.append(Answer(f"/resolve/.*{BIG}", 206, wrong))
    client.fetch()
    assert client.whole() and ranges(client) == ["bytes=1000-", None]


def test_a_storage_address_that_ran_out_is_asked_for_anew(client: Client) -> None:
    client.hub.faults.storage = client.hub.endpoint.replace("127.0.0.1", "localhost")
    client.hub.faults.answers.append(Answer(f"/storage/{BIG}", 403))
    client.fetch()
    assert client.whole() and len([r for r in client.hub.gets(BIG) if "/resolve/" in r.path]) == 2
    (client.cache / "files" / BIG).unlink()
    client.hub.faults.answers.append(Answer(f"/storage/{BIG}", 403, times=99))
    with pytest.raises(SteadyPhiError, match=rf"{BIG}: the storage of \S+ refuses \(403\) repeatedly"):
        client.fetch()


# --- wrong content ------------------------------------------------------------------------------------


def test_a_corrupt_file_of_the_right_size_is_fetched_again_once(client: Client) -> None:
    client.hub.faults.corrupt[BIG] = 1
    client.fetch()
    assert client.whole() and ranges(client) == [None, None]


def test_a_file_that_stays_corrupt_is_named_and_never_used(client: Client) -> None:
    client.hub.faults.corrupt[BIG] = 2
    with pytest.raises(
        SteadyPhiError, match=f"{BIG}: has a different SHA-256 than the Hub lists; it was fetched twice"
    ):
        client.fetch()
    assert ranges(client) == [None, None]
    assert BIG not in {p.name for p in client.weights.iterdir()}
    assert not (client.cache / "files" / BIG).exists() and not begun(client).exists()
    client.fetch()  # the server is in order again
    assert client.whole()


def test_a_kept_file_that_rotted_is_found_and_fetched_again(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    client.fetch()
    kept = client.cache / "files" / BIG
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    client.hub.served.clear()
    client.fetch()
    assert client.whole() and +client.hub.served == {BIG: SIZE}  # without files of 0 bytes
    assert f"{kept}: differs from the Hub's listing" in capsys.readouterr().err


def test_a_corrupt_beginning_does_not_stay(client: Client) -> None:
    """What an earlier process left is in the digest; where it is wrong the file comes whole."""
    begun(client).parent.mkdir(parents=True)
    begun(client).write_bytes(bytes(120_000))
    client.fetch()
    assert client.whole() and ranges(client) == ["bytes=120000-", None]


def test_what_is_left_of_another_version_is_not_gone_on_with(client: Client) -> None:
    client.hub.faults.cut[BIG] = [100_000] * retries.RETRY.tries
    with pytest.raises(SteadyPhiError):
        client.fetch()
    old = begun(client)
    path = client.hub.folder / BIG
    path.write_bytes(bytes(reversed(path.read_bytes())))
    client.hub.requests.clear()
    client.fetch()
    assert client.whole() and ranges(client) == [None] and not old.exists()


@pytest.mark.parametrize("left", [SIZE, SIZE + 1])
def test_a_partial_file_may_be_whole_or_too_long(client: Client, left: int) -> None:
    begun(client).parent.mkdir(parents=True)
    begun(client).write_bytes((client.hub.folder / BIG).read_bytes() + bytes(left - SIZE))
    client.fetch()
    assert client.whole() and len(ranges(client)) == left - SIZE  # none for the whole one


def test_never_more_than_is_listed_is_written(client: Client) -> None:
    client.hub.faults.endless.add(BIG)
    with pytest.raises(SteadyPhiError, match=f"{BIG}: has more than the 300,000 bytes that the Hub lists"):
        client.fetch()
    assert sum(p.stat().st_size for p in client.base.rglob("*") if p.name.startswith(BIG)) <= 2 * SIZE
    assert not begun(client).exists()


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_that_is_shorter_than_listed(client: Client, announced: bool) -> None:
    client.hub.faults.shorter.add(BIG)
    client.hub.faults.lengths = announced
    says = (
        "has 299,999 bytes on the server, but the Hub lists 300,000"
        if announced
        else "ends at byte 299,999, but the Hub lists 300,000"
    )
    with pytest.raises(SteadyPhiError, match=f"{BIG}: {says}"):
        client.fetch()
    assert not (client.cache / "files" / BIG).exists()


def test_a_server_that_compresses(client: Client) -> None:
    """The Hub compresses text for whoever takes it; some mirrors do so without being asked."""
    client.fetch()
    assert client.whole()
    for path in (client.cache / "files").iterdir():
        path.unlink()
    client.hub.faults.compressed = True
    client.fetch()
    assert client.whole()


def test_a_server_that_compresses_has_no_ranges(client: Client) -> None:
    path = begun(client, "tokenizer.json")
    path.parent.mkdir(parents=True)
    path.write_bytes((client.hub.folder / "tokenizer.json").read_bytes()[:1000])
    client.hub.faults.compressed = True
    client.fetch()
    assert client.whole() and ranges(client, "tokenizer.json") == ["bytes=1000-"]


def test_an_empty_file(client: Client) -> None:
    (client.hub.folder / "LICENSE").write_bytes(b"")
    client.fetch()
    assert client.whole()


def test_bytes_that_were_there_count_as_done_but_not_for_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("fetch", 100, "B")
    progress.start -= 10
    progress.skip(80)
    progress.add(10)
    assert progress.rate == pytest.approx(1.0, rel=0.01)
    progress.skip(-50)  # wrong: they have to come again
    progress.close()
    assert "fetch:  40% | 1.0 B/s | 0:10 so far, 1:00 left" in capsys.readouterr().err


# --- processes that end -------------------------------------------------------------------------------


def start(client: Client) -> "subprocess.Popen[str]":
    arguments = [str(client.weights), REPO, COMMIT, str(client.cache)]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, *arguments], cwd=ROOT, env=environment(client), **streams
    )


def wait_for(path: Path, size: int, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size:
        assert process.poll() is None and time.monotonic() < end, (process.kill(), process.communicate())
        time.sleep(0.002)


@pytest.fixture
def slow(client: Client) -> Client:
    """A client whose large file takes seconds to come."""
    folder = client.hub.folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    make_checkpoint(folder, (4_000_000, 100_000))
    client.hub.faults.rate = 4e6
    return client


def test_killed_at_any_byte_the_next_process_goes_on(slow: Client) -> None:
    size = 4_000_000
    for at in (1, 700_001, 1_500_000, 2_900_123):
        process = start(slow)
        wait_for(begun(slow), at, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left = begun(slow).stat().st_size
        assert at <= left < size
        assert not [p for p in slow.weights.iterdir() if p.name == BIG]
    slow.hub.faults.rate = 0.0
    process = start(slow)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert slow.whole()
    asked = ranges(slow)
    assert asked[0] is None and all(r is not None for r in asked[1:]) and len(asked) == 5
    # Each kill loses what was on the way then, a few packets; a restart would serve 9 MB.
    assert size <= slow.hub.served[BIG] < size + 400_000


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -2)])
def test_a_stopped_fetch_ends_at_once_and_can_go_on(slow: Client, number: int, code: int) -> None:
    slow.hub.faults.rate = 1e6
    process = start(slow)
    wait_for(begun(slow), 200_000, process)
    asked_to_stop = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert time.monotonic() - asked_to_stop < 3 and process.returncode == code
    left = begun(slow).stat().st_size
    slow.hub.requests.clear()
    slow.hub.faults.rate = 0.0
    slow.fetch()
    assert slow.whole() and ranges(slow) == [f"bytes={left}-"]


def test_a_silent_server_does_not_hold_up_the_end(slow: Client) -> None:
    """A thread that waits for bytes that do not come is left behind."""
    slow.hub.faults.rate = 0.2  # a byte, then five seconds
    process = start(slow)
    wait_for(begun(slow), 1, process)
    asked_to_stop = time.monotonic()
    process.terminate()
    process.communicate(timeout=20)
    assert time.monotonic() - asked_to_stop < 3 and process.returncode == 143
