"""Optimizers of torch without its compiler, until something is compiled.

`torch.optim` imports `torch._dynamo` when the first optimizer steps: more than a second and 70 MiB
in every worker, to ask the compiler not to trace it. Where nothing is compiled that request says
nothing. So the two functions that it calls are stood in for, and whatever else is asked of the
compiler imports it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"


class _Deferred(ModuleType):
    """Stands where the compiler's module will be."""

    def graph_break(self, msg: str = "") -> None:
        """Split what is being compiled, which nothing is before the compiler is imported."""
        if self._is_replaced():
            _compiler().graph_break(msg)

    def disable(
        self, fn: Callable[..., Any] | None = None, *args: object, **kwargs: object
    ) -> Callable[..., Any]:
        """The function, which the compiler will not trace, should it ever be imported."""
        if fn is None or self._is_replaced():
            return _compiler().disable(fn, *args, **kwargs)  # type: ignore[no-any-return]
        untraced: list[Callable[..., Any]] = []

        @wraps(fn)
        def either(*given: object, **named: object) -> object:
            if not self._is_replaced():
                return fn(*given, **named)
            if not untraced:
                untraced.append(_compiler().disable(fn, *args, **kwargs))
            return untraced[0](*given, **named)

        return either

    def __getattr__(self, name: str) -> Any:
        # Who walks all modules asks for such; who imports a part of this one, for its path.
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        return getattr(_compiler(), name)

    def _is_replaced(self) -> bool:
        return sys.modules.get(NAME) is not self


def defer_compiler() -> None:
    """Have this process import torch's compiler when it is needed, not when an optimizer steps."""
    if NAME in sys.modules:
        return
    stand_in, spec = _Deferred(NAME), importlib.util.find_spec(NAME)
    assert spec is not None
    # Who asks where the compiler is, or whether there is one, is told without its being imported.
    stand_in.__spec__, stand_in.__file__ = spec, spec.origin
    stand_in.__loader__, stand_in.__package__ = spec.loader, NAME
    sys.modules[NAME] = stand_in
    vars(torch)["_dynamo"] = stand_in


def _compiler() -> ModuleType:
    """The compiler itself, imported now if it was not yet."""
    if isinstance(sys.modules.get(NAME), _Deferred):
        del sys.modules[NAME]
        del vars(torch)["_dynamo"]
    return importlib.import_module(NAME)
