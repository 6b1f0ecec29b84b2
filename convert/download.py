"""Released checkpoints, downloaded once to the user's cache folder."""

from __future__ import annotations

import pathlib

from convert.releases import Release
from jaxpart.errors import JaxpartError
from jaxpart.io.download import RemoteFile, fetch
from jaxpart.io.files import user_cache


def download_release(release: Release) -> pathlib.Path:
    """The verified file of a release, in checkpoints/NAME of `user_cache`.

    Raises:
      JaxpartError: It cannot be downloaded automatically, or see `jaxpart.io.download.fetch`.
    """
    if not release.url:
        raise JaxpartError(
            f"@{release.name} cannot be downloaded automatically: {release.by_hand}; then pass "
            "the file itself"
        )
    folder = user_cache() / "checkpoints" / release.name
    return fetch(RemoteFile(release.url, release.sha256), folder)
