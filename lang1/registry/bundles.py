"""Bundles on their way into the registry, and where they lie there. What is half there goes at the next opening."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lang1.bundle import Bundle, load_bundle
from lang1.errors import BundleError
from lang1.registry.errors import RegistryError
from lang1.registry.files import copy_file, make_folder, sync_folder, try_lock

FOLDER: Final = "bundles"
_ADDING: Final = ".adding-"
_OWNER: Final = ".owner"
_COPY: Final = "bundle"


def path(root: Path, sha256: str) -> Path:
    """Where a bundle lies."""
    return root / FOLDER / sha256


def verified(folder: Path, sha256: str) -> Bundle:
    """A folder's bundle. Raises RegistryError unless it is, byte for byte, the one with this hash."""
    if folder.is_symlink():
        raise RegistryError(f"bundle {sha256}: its folder is a link; a registry holds none, add the original again")
    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        raise RegistryError(f"bundle {sha256}: {error}") from None
    if bundle.sha256 != sha256:
        raise RegistryError(f"bundle {sha256}: the folder holds another bundle; add the original again")
    return bundle


@contextmanager
def staged(root: Path, source: Path, writing: Callable[[], AbstractContextManager[Any]]) -> Iterator[Bundle]:
    """A verified copy of the bundle at `source` beside the others, which whoever cleans leaves alone while we live.

    The registry's lock is held to begin and not while bytes are copied. Raises BundleError.
    """
    wanted = load_bundle(source)
    with writing():
        staging = Path(tempfile.mkdtemp(prefix=_ADDING, dir=root / FOLDER))
        owner = os.open(staging / _OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try_lock(owner)
    try:
        copy = staging / _COPY
        make_folder(copy, root)
        try:
            for each in sorted(source.iterdir()):
                copy_file(each, copy / each.name, root)
        except OSError as error:
            raise BundleError(f"{source.name}: cannot be copied ({type(error).__name__}); look at both disks") from None
        sync_folder(copy)
        bundle = load_bundle(copy)
        if bundle.sha256 != wanted.sha256:
            raise BundleError(f"{source.name}: was changed while it was copied; add it again")
        yield bundle
    finally:
        os.close(owner)
        shutil.rmtree(staging, ignore_errors=True)


def take_in(root: Path, staging: Bundle) -> Bundle:
    """Move a staged copy to its place, under the registry's lock. One that is there and whole stays; a damaged one
    gives way.
    """
    place = path(root, staging.sha256)
    if place.is_symlink() or place.exists():
        try:
            return verified(place, staging.sha256)
        except RegistryError:
            place.replace(staging.folder.with_name("damaged"))
    staging.folder.replace(place)
    sync_folder(place.parent)
    return replace(staging, folder=place)


def clean(root: Path) -> None:
    """Delete what adders left that are no more, under the registry's lock."""
    for each in (root / FOLDER).glob(f"{_ADDING}*"):
        try:
            owner = os.open(each / _OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            shutil.rmtree(each, ignore_errors=True)
            continue
        try:
            if try_lock(owner):
                shutil.rmtree(each, ignore_errors=True)
        finally:
            os.close(owner)
