"""A file on the Hub read in places, as `inspect` reads a header."""

import io
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steadyphi.errors import SteadyPhiError
from steadyphi.hub import fetch
from tests.hub.hub_fixtures import COMMIT, REPO, SHARDS, Client
from tests.pipeline.loopback_hub import Answer

BIG = SHARDS[0]
SIZE = 300_000


def remote(client: Client) -> io.RawIOBase:
    listing = fetch.listing(REPO, COMMIT)
    client.hub.requests.clear()
    return fetch.open_remote(REPO, listing.commit, listing.files[BIG])


def test_a_header_takes_one_request(client: Client) -> None:
    file = io.BufferedReader(remote(client), 1 << 16)
    content = (client.hub.folder / BIG).read_bytes()
    assert file.read(8) == content[:8] and file.read(1000) == content[8:1008] and file.tell() == 1008
    assert [r.range for r in client.hub.requests] == ["bytes=0-65535"]


STEPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2]), st.integers(-400_000, 400_000), st.integers(0, 200_000)),
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_it_reads_as_the_file_itself(client: Client, steps: list[tuple[int, int, int]]) -> None:
    ours, theirs = remote(client), io.BytesIO((client.hub.folder / BIG).read_bytes())
    reader = io.BufferedReader(ours, 1 << 15)
    for whence, offset, count in steps:
        start = {0: 0, 1: theirs.tell(), 2: SIZE}[whence] + offset
        if start < 0:
            with pytest.raises((OSError, ValueError)):
                reader.seek(offset, whence)
            reader.seek(theirs.tell())
            continue
        assert reader.seek(offset, whence) == theirs.seek(offset, whence)
        assert reader.read(count) == theirs.read(count)


def test_failures_that_pass_and_cuts(client: Client) -> None:
    file = remote(client)
    client.hub.faults.answers.append(Answer("/resolve/", 503, times=2))
    client.hub.faults.cut[BIG] = [random.Random(1).randrange(1, SIZE)]
    buffer = bytearray(SIZE)
    done = 0
    while done < SIZE:
        done += file.readinto(memoryview(buffer)[done:])
    assert buffer == (client.hub.folder / BIG).read_bytes()


def test_a_server_without_ranges_has_a_beginning_only(client: Client) -> None:
    client.hub.faults.ranges = False
    file = remote(client)
    assert file.read(100) == (client.hub.folder / BIG).read_bytes()[:100]
    with pytest.raises(SteadyPhiError, match="does not support range requests"):
        file.read(100)


def test_one_line_for_what_does_not_pass(client: Client) -> None:
    file = remote(client)
    client.hub.faults.answers.append(Answer("/resolve/", 403, {"X-Error-Code": "GatedRepo"}, times=9))
    with pytest.raises(SteadyPhiError, match=f"{BIG}: is gated"):
        file.read(100)
