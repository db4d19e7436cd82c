"""Names that a package offers, imported when they are first asked for (PEP 562).

So a lesson writes `from helpers import training`, and `training.train(...)`, and importing a
package costs nothing until one of its functions is used: TensorFlow alone takes six seconds.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def exports(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return what a package assigns to `__getattr__`, `__dir__` and `__all__`.

    Args:
        package: the package's `__name__`.
        names: module of the package -> the names that it defines, separated by blanks.
    """
    home = {name: module for module, listed in names.items() for name in listed.split()}

    def __getattr__(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return __getattr__, lambda: sorted(home), sorted(home)
