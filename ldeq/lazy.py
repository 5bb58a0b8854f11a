"""What is imported when it is first used: modules behind a package's names, and packages that need not be installed."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ldeq.errors import InputError, reason_of


def lazy_names(package: str, module_of: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package's ``__init__`` (PEP 562).

    Args:
        package: the package's ``__name__``.
        module_of: the modules that the names are imported from.
    """

    def getattr_of_package(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(module_of[name]), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            needed = f'{package}.{name} needs PyTorch, which is not installed: pip install "{package}[torch]"'
            raise ImportError(needed, name=error.name) from None
        setattr(sys.modules[package], name, value)
        return value

    return getattr_of_package


def load_package(name: str, title: str, install: str | None = None) -> Any:
    """A package that need not be installed.

    Args:
        title: what it is called.
        install: what pip installs it by, if not its name.

    Raises:
        InputError: where it is not installed, or cannot be loaded, for want of a library that it needs, say.
    """
    try:
        return import_module(name)
    except Exception as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == name
        fault = "is not installed" if is_missing else f"cannot be loaded ({reason_of(error)})"
        raise InputError(f"{title} {fault}, expected pip install {install or name}") from None
