"""Fetching a checkpoint from the hub, or from its client's cache."""

import re
from pathlib import Path

import httpx
from huggingface_hub import constants, list_repo_commits, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from roboreward_gym.errors import WeightsError

COMMIT = re.compile(r"[0-9a-f]{40}")
SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
SMALL_FILES = ("*.json", "*.jinja", "*.txt")


def fetch(
    source: str, revision: str | None, *, offline: bool, cache: Path | None, weights: bool
) -> tuple[Path, str | None]:
    """Return the folder in the cache, and the commit; see `find_checkpoint`.

    Raises:
        WeightsError: It cannot be fetched.
    """
    patterns = [*SMALL_FILES, "*.safetensors"] if weights else list(SMALL_FILES)
    offline = offline or constants.HF_HUB_OFFLINE
    found = _cached_commit(source, revision, cache)
    try:
        path = snapshot_download(
            source,
            revision=found if offline else _full_commit(source, found),
            cache_dir=cache,
            allow_patterns=patterns,
            local_files_only=offline,
        )
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise WeightsError(_why_not_fetched(source, revision, error)) from error
    commit = Path(path).name
    return Path(path), commit if COMMIT.fullmatch(commit) else revision


def _cached_commit(source: str, revision: str | None, cache: Path | None) -> str | None:
    """The full commit in the cache that a short one means; the revision itself otherwise."""
    root = Path(cache or constants.HF_HUB_CACHE) / f"models--{source.replace('/', '--')}"
    if revision is None or (root / "refs" / revision).is_file():
        return revision
    commits = [path.name for path in (root / "snapshots").glob(f"{revision}*")]
    return commits[0] if len(commits) == 1 else revision


def _full_commit(source: str, revision: str | None) -> str | None:
    """The commit on the hub that a short one means, because the hub itself takes full ones only."""
    if revision is None or not SHORT_COMMIT.fullmatch(revision):
        return revision
    commits = [commit.commit_id for commit in list_repo_commits(source)]
    meant = [commit for commit in commits if commit.startswith(revision)]
    return meant[0] if len(meant) == 1 else revision  # else a branch or a tag, or the hub's error


def _why_not_fetched(source: str, revision: str | None, error: Exception) -> str:
    wanted = f"{source}@{revision}" if revision else source
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{source} has no revision {revision!r} on the hub. Name a branch, a tag or a full commit: "
            f"checkpoint:{source}@main"
        )
    if isinstance(error, GatedRepoError):
        return (
            f"{wanted} is a gated repository. Accept its terms on its page and run: hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{source} is not on the hub, or is private. Check the spelling; "
            "for a folder give an existing path; for a private one run: hf auth login"
        )
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return (
            f"{wanted} is not in the cache {constants.HF_HUB_CACHE}, and the hub cannot be reached or may "
            f"not be asked. With a network run once: hf download {source}"
            + (f" --revision {revision}" if revision else "")
            + ", without HF_HUB_OFFLINE; or copy the folder here and name it."
        )
    return (
        f"Fetching {wanted} failed with {type(error).__name__}: {error}. Check the network, or copy the "
        "folder here and name it."
    )
