"""Python files of a user's own: imported with what lies beside them, and hashed with it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import MissingDataError, PluginError, UnknownNameError, UsageError

_PREFIX = "harness_file_"


def load_object(path: Path, name: str, code: str) -> Callable[..., Any]:
    """Import a file, once for each state of the Python files in its folder, and return one of its objects.

    Args:
        path: the file.
        name: the object.
        code: :func:`hash_folder` of the state that is meant; an edit during a run does not reach that run.

    Raises:
        MissingDataError: no such file any more.
        PluginError: it fails when it is imported, or is no longer in that state.
        UnknownNameError: it has no such object.
        UsageError: the object cannot be called.
    """
    module = _import(path, code)
    missing = object()
    found = getattr(module, name, missing)
    if found is missing:
        known = [key for key, value in vars(module).items() if callable(value)]
        raise UnknownNameError(f"object of {path}", name, known)
    if not callable(found):
        raise UsageError(f"{path}: {name} is a {type(found).__name__}; expected a class or function")
    checked: Callable[..., Any] = found
    return checked


def hash_folder(path: Path) -> str:
    """Hash the Python files beside a file, packages included: what it imports from there shapes its numbers too.

    Raises:
        MissingDataError: no such file.
    """
    if not path.is_file():
        raise MissingDataError(f"file:{path}: no such file (looked for it in {Path.cwd()})")
    folder = path.resolve().parent
    packages = sorted(marker.parent for marker in folder.glob("*/__init__.py"))
    files = [*sorted(folder.glob("*.py")), *(file for package in packages for file in sorted(package.rglob("*.py")))]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


@contextmanager
def importing_beside(path: Path) -> Iterator[None]:
    """Let imports find the modules beside a file, and forget them afterwards.

    They are forgotten so that an edited one is read again, and one of the same name beside another file is not
    mistaken for it; whoever imported them keeps them.
    """
    folder, known, silent = path.resolve().parent, set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # Python takes bytecode for current after an edit within its second, of equal length
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = silent
        fresh = {name: module for name, module in sys.modules.items() if "." not in name and name not in known}
        beside = {name for name, module in fresh.items() if _lies_in(folder, module) and not name.startswith(_PREFIX)}
        for name in [name for name in sys.modules if name.partition(".")[0] in beside]:
            del sys.modules[name]


def _lies_in(folder: Path, module: ModuleType) -> bool:
    """Tell whether a top-level module is a file of the folder, or a package in it."""
    origin = getattr(module, "__file__", None)
    return origin is not None and folder in (Path(origin).resolve().parent, Path(origin).resolve().parent.parent)


def _import(path: Path, code: str) -> ModuleType:
    from .random_draw import drawn_from

    name = _PREFIX + hashlib.sha256(f"{path.resolve()}|{code}".encode()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    if hash_folder(path) != code:
        raise PluginError(f"{path}: it, or a Python file beside it, has changed since the run began; start it again")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with drawn_from(0), importing_beside(path):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
