"""Names of a package that import their module when they are first used, so that importing the package is cheap."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


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
