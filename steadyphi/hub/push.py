"""Uploads a folder to a new repository on the Hugging Face Hub, as one commit."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from steadyphi.errors import SteadyPhiError
from steadyphi.hub.remote import Hub
from steadyphi.hub.retries import HTTPError, Where, clean, status_of

MADE_BY_THE_HUB = {".gitattributes"}  # a new repository has this file


def check(repo: str, private: bool) -> bool:
    """Return whether `repo` exists. Raise SteadyPhiError in one line if `push` cannot write to it.

    A repository that exists is refused, unless it has no files: then an earlier upload did not finish.
    """
    hub = Hub(repo)
    _check_name(repo)
    if get_token() is None:
        raise SteadyPhiError(f"{repo}: HF_TOKEN is not set; set it to a token that may write")
    with _in_a_line(Where(repo, hub.endpoint)):
        try:
            info = HfApi(endpoint=hub.endpoint, library_name="steadyphi").model_info(repo)
        except RepositoryNotFoundError:
            return False
        files = {sibling.rfilename for sibling in info.siblings or []} - MADE_BY_THE_HUB
    if files or (private and not info.private):
        what = f"with {len(files)} files" if files else "and is public"
        raise SteadyPhiError(f"{repo}: exists already {what}; name a new repository, or delete it on the Hub")
    return True


def push(folder: Path, repo: str, private: bool) -> str:
    """Create the repository `repo`, upload all files of `folder`, and return its address.

    Large files go to the Hub's storage before the commit, so that the repository has all files or none.
    Raises SteadyPhiError as `check` does.
    """
    exists = check(repo, private)
    where = Where(repo, Hub(repo).endpoint)
    api: Any = HfApi(endpoint=where.endpoint, library_name="steadyphi")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    operations = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
    with _in_a_line(where):
        if not exists:
            api.create_repo(repo, private=private or None)
        api.create_commit(repo, operations, commit_message="Upload a model exported by SteadyPhi")
    return f"{where.endpoint}/{repo}"


def _check_name(repo: str) -> None:
    try:
        validate_repo_id(repo)
        valid = "/" in repo
    except HFValidationError:
        valid = False
    if not valid:
        raise SteadyPhiError(f"{repo}: a repository on the Hub is named owner/name, such as ann/phi-2-steady")


@contextlib.contextmanager
def _in_a_line(where: Where) -> Iterator[None]:
    """Raise a failed request as a SteadyPhiError, without the token."""
    try:
        yield
    except HTTPError as error:
        raise SteadyPhiError(f"{where}: {_explain(error, where)}") from None
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        # The library raises RuntimeError for a large file, and the others for an unexpected response.
        cause = error.__cause__
        reason = _explain(cause, where) if isinstance(cause, HTTPError) else clean(str(error))
        raise SteadyPhiError(f"{where}: {where.host}: the upload failed ({reason})") from None


def _explain(error: Exception, where: Where) -> str:
    """Return the cause of a failed request and the remedy."""
    status = status_of(error)
    if status is None:
        return f"{where.host}: the connection failed ({clean(f'{type(error).__name__}: {error}')})"
    if status == 401:
        return f"{where.host} rejects the token (401); set HF_TOKEN to a valid token that may write"
    if status == 403:
        return f"{where.host} denies access (403); the token may not write to {where.source}"
    message = clean(str(getattr(error, "server_message", None) or ""))
    return f"{where.host} refuses ({status})" + (f": {message}" if message else "")
