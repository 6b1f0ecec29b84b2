"""Preparation of data sets as array_record shards, written by tensorflow-datasets.

The folder OUT/NAME/2.0.0 is either complete or missing: an interrupted preparation starts over. The bytes
depend only on the data set, not on the number of processes.
"""

from __future__ import annotations

import contextlib
import errno
import io
import pathlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from jaxpart.data.checking import Summary
from jaxpart.data.identity import identity_of
from jaxpart.data.locking import locked
from jaxpart.data.prepared import METADATA, VERSION, read_about
from jaxpart.data.sets.tfds_folders import PREFIX
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import in_bucket, on_disk, path_of, write_folder
from jaxpart.io.modules import module_of
from jaxpart.runs.progress import Progress


def prepare(
    name: str,
    sources: Mapping[str, Source],
    out: str | pathlib.Path,
    *,
    whole: Source | None = None,
    skip: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[pathlib.Path, dict[str, Summary]]:
    """Writes a prepared data set.

    Args:
      name: The data set.
      sources: Its splits by name.
      out: The folder in which to create NAME/2.0.0.
      whole: The union of all splits; only its order is stored.
      skip: Whether to leave out and list invalid records instead of raising.
      workers: Processes for reading and checking; by default one per core.
      progress: Shows progress.

    Returns:
      The folder, and a summary of each split; none if the folder was already complete.

    Raises:
      JaxpartError: A record is invalid, an id appears twice, the disk is full or read-only, another
        process is preparing the folder, or it holds other data.
    """
    if in_bucket(out):
        options = {"skip": skip, "workers": workers, "progress": progress}
        return _prepare_in_bucket(name, sources, path_of(out) / name / VERSION, whole, options)
    parent = pathlib.Path(out) / name
    folder = parent / VERSION
    with locked(parent / ".lock", f"preparing {folder}"):
        for leftover in parent.glob("incomplete.*"):  # by a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        if (folder / METADATA).exists():
            _check_finished(folder, sources, whole)
            return folder, {}
        from jaxpart.data.builders import builder_class  # slow to import

        builder = builder_class(name)(
            sources=sources,
            whole=whole,
            skip=skip,
            workers=workers,
            progress=progress or Progress(),
            data_dir=str(out),
        )
        try:
            with _tidy(pathlib.Path(out), folder):
                builder.download_and_prepare()
        except UnicodeEncodeError as error:
            raise JaxpartError(
                f"{folder} cannot be written: the name of a class is not UTF-8; rename its folder"
            ) from error
        except (OSError, RuntimeError) as error:  # array_record raises no OSError
            raise _not_written(folder, error) from error
    return folder, builder.summaries


def _prepare_in_bucket(
    name: str,
    sources: Mapping[str, Source],
    folder: pathlib.Path,
    whole: Source | None,
    options: Mapping[str, Any],
) -> tuple[pathlib.Path, dict[str, Summary]]:
    """Like `prepare`, but to the local disk first and then to the bucket."""
    if (folder / METADATA).exists():
        _check_finished(folder, sources, whole)
        return folder, {}
    summaries: dict[str, Summary] = {}

    def write(scratch: pathlib.Path) -> None:
        prepared, summary_of_split = prepare(name, sources, scratch, whole=whole, **options)
        summaries.update(summary_of_split)
        for file in prepared.iterdir():
            shutil.move(file, scratch)
        shutil.rmtree(scratch / name)

    write_folder(folder, write)
    return folder, summaries


def prepare_own(name: str, out: str | pathlib.Path) -> tuple[pathlib.Path, str]:
    """Prepares a data set with a user's own builder as array_record, which is read without TensorFlow.

    Args:
      name: The builder class as "module:CLASS" or "path.py:CLASS"; its code is executed.
      out: The data directory.

    Returns:
      The prepared folder, and the name to open the data set with.

    Raises:
      JaxpartError: The builder does not exist or fails, or the folder cannot be written.
    """
    import tensorflow_datasets as tfds

    out = on_disk(out, "--out")
    path, _, attribute = name.rpartition(":")
    folder = None
    try:
        if attribute == "Builder" and path.endswith(
            ".py"
        ):  # tfds' template, which its package names
            file = pathlib.Path(path).resolve()
            sys.path.insert(0, str(file.parents[1]))
            path = f"{file.parent.name}.{file.stem}"
        builder = getattr(module_of(path), attribute)
        if not (isinstance(builder, type) and issubclass(builder, tfds.core.GeneratorBasedBuilder)):
            raise TypeError("it is not a GeneratorBasedBuilder")
        instance = builder(data_dir=str(out), file_format="array_record")
        folder = pathlib.Path(instance.data_path)
        with _tidy(out, folder):
            instance.download_and_prepare()
    except JaxpartError:
        raise
    except Exception as error:  # from the user's own code, unless it is of the disk
        if folder and (_is_of_disk(error) or str(folder.parent) in str(error)):
            raise _not_written(folder, error) from error
        if _needs_tensorflow(error):
            raise JaxpartError(
                f"{name} needs TensorFlow, without which it is prepared here; do not import it, and yield "
                "images as files, bytes or PIL images, not as arrays"
            ) from error
        raise JaxpartError(
            f"{name} cannot be prepared ({type(error).__name__}: {first_line(error)}); fix the builder"
        ) from error
    return folder, f"{PREFIX}{instance.info.full_name.rpartition('/')[0]}"


@contextlib.contextmanager
def _tidy(out: pathlib.Path, folder: pathlib.Path) -> Iterator[None]:
    """Silences tensorflow-datasets, and removes the empty folders that it leaves in a data directory."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        above = (parent for parent in folder.parents if parent.is_relative_to(out))
        for empty in (out / "downloads/extracted", out / "downloads", *above):
            with contextlib.suppress(OSError):  # it does not exist or is not empty
                empty.rmdir()


def _not_written(folder: pathlib.Path, error: Exception) -> JaxpartError:
    # "Failed to finalize writing of split …: [Errno 28] No space left on device; …"
    reason = first_line(error).split("] ")[-1].split(";")[0].split(": '")[0]
    return JaxpartError(f"{folder} cannot be written: {reason}")


def _needs_tensorflow(error: BaseException | None) -> bool:
    """Whether an error is of the missing TensorFlow, whatever wrapped it."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_of_disk(error: Exception) -> bool:
    """Whether an error is of a full or read-only disk, whatever wrapped it."""
    numbers = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
    return any(f"[Errno {number}]" in str(error) for number in numbers)


def _check_finished(
    folder: pathlib.Path, sources: Mapping[str, Source], whole: Source | None
) -> None:
    """Raises `JaxpartError` unless the finished folder holds these data."""
    about = read_about(folder)
    wholes = set() if whole is None else {whole.info.split}
    if about.splits.keys() != sources.keys() or about.wholes.keys() != wholes:
        raise JaxpartError(f"{folder} holds other splits; remove it or name another --out")
    for split, source in sources.items():
        if about.splits[split].identity != identity_of(source):
            raise JaxpartError(
                f"{folder} was prepared from other files or another version of {source.info.name} "
                f"({split}); remove it to prepare it again, or name another --out"
            )
