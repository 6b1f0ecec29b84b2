"""Differences between object stores: their clients, and the exceptions these raise."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any

import fsspec

from jaxpart.errors import JaxpartError


@dataclasses.dataclass(frozen=True)
class ObjectStore:
    """A kind of object store.

    Attributes:
      files: Its client, the instance that epath uses.
      status: The HTTP status that an exception reports, or None.
      cut: The exceptions of a lost connection.
      no_credentials: The exceptions of missing or unusable credentials.
    """

    files: fsspec.AbstractFileSystem
    status: Callable[[Exception], int | None]
    cut: tuple[type[Exception], ...]
    no_credentials: tuple[type[Exception], ...]


@functools.cache
def object_store(scheme: str) -> ObjectStore:
    """The store of a scheme, "gs" or "s3".

    Raises:
      JaxpartError: Its client is not installed.
    """
    make, extra = _STORES[scheme]
    try:
        return make()
    except ImportError as error:
        raise JaxpartError(
            f"paths starting with {scheme}:// need a package which is not installed: pip install "
            f"'jaxpart[{extra}]' ({error})"
        ) from error


def _google() -> ObjectStore:
    import aiohttp
    import google.auth.exceptions
    import requests
    from gcsfs.retry import HttpError

    def status(error: Exception) -> int | None:
        if isinstance(error, HttpError) and str(error.code).isdigit():
            return int(error.code)
        return 403 if str(error).startswith("Forbidden") else None

    return ObjectStore(
        files=_client("gcs", finalize_on_close=True),
        status=status,
        cut=(
            aiohttp.ClientError,
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
        ),
        no_credentials=(google.auth.exceptions.GoogleAuthError,),
    )


def _amazon() -> ObjectStore:
    import s3fs  # noqa: F401  fsspec imports it too, but reports a different reason if it is missing
    from botocore import exceptions

    def status(error: Exception) -> int | None:
        response = getattr(error.__cause__, "response", None) or {}
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")

    # The default five attempts take five seconds; these take half a minute on average, as Google's do.
    config = {"retries": {"mode": "standard", "max_attempts": 6}}
    fsspec.config.conf.setdefault("s3", {}).setdefault("config_kwargs", config)
    return ObjectStore(
        files=_client("s3"),
        status=status,
        cut=(exceptions.ConnectionError, exceptions.HTTPClientError),
        no_credentials=(exceptions.NoCredentialsError, exceptions.PartialCredentialsError),
    )


def _client(name: str, **options: Any) -> fsspec.AbstractFileSystem:
    # No cache of listings, since other processes write too.
    fsspec.config.conf.setdefault(name, {})["use_listings_cache"] = False
    # Errors are raised, so they need not be logged with a stack trace.
    logging.getLogger(f"{name}fs").setLevel(logging.CRITICAL)
    return fsspec.filesystem(name, **options)


_STORES = {"gs": (_google, "gcs"), "s3": (_amazon, "s3")}
"""The factory of each store, and the extra that installs its client, by scheme."""
