"""A repository on the Hub: its listing, and the contents of its files from any offset."""

import contextlib
import io
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url, is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from steadyphi.errors import SteadyPhiError
from steadyphi.hub.listing import Listed, Listing, top_folder
from steadyphi.hub.retries import HTTPError, Patience, Where, clean


class Hub:
    """One repository on the Hub. `HF_ENDPOINT` sets another Hub, `HF_TOKEN` gives access to private ones.

    stop: an event that ends the wait between retries.
    """

    def __init__(self, source: str, stop: threading.Event | None = None) -> None:
        if is_offline_mode():
            raise SteadyPhiError(
                f"{source}: HF_HUB_OFFLINE is set; unset it to use the Hub, or name a local folder"
            )
        self.source = source
        self.endpoint = _endpoint()
        self.stop = stop
        self._check_token()
        self._quiet_client()
        # A compressed response does not have the listed size and cannot be resumed.
        self._headers = build_hf_headers(library_name="steadyphi") | {"Accept-Encoding": "identity"}

    def listing(self, revision: str | None) -> Listing:
        """Return the files of the top folder at `revision`. None is the current default branch.

        Raises SteadyPhiError with a one-line message if the listing cannot be fetched.
        """
        patience = self.patience(revision)
        api = HfApi(endpoint=self.endpoint, library_name="steadyphi")
        while True:
            try:
                info = api.model_info(
                    self.source,
                    revision=revision,
                    files_metadata=True,
                    timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                )
                break
            except HTTPError as error:
                patience.after(error)
            except HFValidationError:
                text = f"{self.source}: neither a folder nor a repository's name, such as microsoft/phi-2"
                raise SteadyPhiError(text) from None
            except (ValueError, KeyError, TypeError, AttributeError):
                text = f"{patience.where}: {patience.where.host} returned something other than a listing"
                raise SteadyPhiError(text) from None
        commit = str(info.sha)
        if not re.fullmatch("[0-9a-f]{40}", commit) or (_is_commit(revision) and commit != revision):
            raise SteadyPhiError(f"{patience.where}: {patience.where.host} lists another commit, {commit!r}")
        files = [self._listed(s) for s in info.siblings or []]
        return Listing(self.source, commit, top_folder(self.source, files))

    def _listed(self, sibling: Any) -> Listed:
        try:
            if sibling.lfs is not None:
                return Listed(sibling.rfilename, int(sibling.lfs.size), "sha256", str(sibling.lfs.sha256))
            return Listed(sibling.rfilename, int(sibling.size), "git", str(sibling.blob_id))
        except (ValueError, TypeError):
            raise SteadyPhiError(
                f"{self.source}: {sibling.rfilename!r} is listed without a valid size or digest"
            ) from None

    @contextlib.contextmanager
    def open(self, name: str, commit: str, start: int = 0, end: int | None = None) -> Iterator[Any]:
        """Request the bytes of a file from `start` up to `end` (exclusive). Yield the HTTP response, unread.

        If the server does not support ranges, the status is 200 instead of 206 and the body is the whole
        file. Raises the exceptions of the HTTP client, and those of huggingface_hub for an error status.
        """
        url = hf_hub_url(self.source, name, revision=commit, endpoint=self.endpoint)
        headers = dict(self._headers)
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        # The client removes the token when it is redirected to another host.
        with get_session().stream(
            "GET", url, headers=headers, timeout=timeout, follow_redirects=True
        ) as response:
            hf_raise_for_status(response)
            yield response

    def patience(self, revision: str | None, name: str = "") -> Patience:
        """Return the retry policy for one request: for the file `name`, or for the listing if it is empty."""
        return Patience(Where(self.source, self.endpoint, revision, name), self.stop)

    def _quiet_client(self) -> None:
        logger = logging.getLogger(HTTPError.__module__.split(".")[0])
        if logger.level == logging.NOTSET:  # at INFO it logs every URL, and some contain a signature
            logger.setLevel(logging.WARNING)

    def _check_token(self) -> None:
        token = get_token()
        if token and not re.fullmatch("[!-~]+", token):  # the HTTP client's error message would contain it
            raise SteadyPhiError("HF_TOKEN: has characters that no token has; copy it again")


class RemoteFile(io.RawIOBase):
    """A file on the Hub for reading parts of it, such as a header. The content is not verified.

    Each read is one request, so use a buffer: `io.BufferedReader(RemoteFile(...), 1 << 16)`.
    """

    def __init__(self, source: str, commit: str, listed: Listed) -> None:
        self.size = listed.size
        self.name = listed.name
        self._hub = Hub(source)
        self._commit = commit
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"{self.name}: cannot seek to {start + offset}")
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._place + len(view), self.size)
        if end <= self._place:
            return 0
        patience = self._hub.patience(self._commit, self.name)
        while True:
            try:
                data = self._read(end)
                break
            except HTTPError as error:
                patience.after(error)
        view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _read(self, end: int) -> bytes:
        start, data = self._place, b""
        with self._hub.open(self.name, self._commit, start, end) as response:
            if start and response.status_code != 206:
                raise SteadyPhiError(
                    f"{self._hub.source}: {self.name}: the server does not support range requests"
                )
            for piece in response.iter_bytes():
                data += piece
                if len(data) >= end - start:  # a server without range support sends the whole file
                    break
        if not data:
            raise SteadyPhiError(f"{self._hub.source}: {self.name}: the server sent no data")
        return data[: end - start]


def _endpoint() -> str:
    # Read at this point, not when huggingface_hub is imported. The two differ only in tests.
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        good = False
    if not good:
        raise SteadyPhiError(
            f"HF_ENDPOINT: {clean(endpoint)} is not the address of a Hub, such as https://hf.co"
        )
    return endpoint


def _is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None
