"""Imports without looking for garbage, of which they make none: an eighth of torch's time."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected_imports() -> Iterator[None]:
    """No garbage is collected meanwhile, nor looked for later among what was imported."""
    was_enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        # Not where all was there already: what a long-lived process has since dropped would stay.
        if len(sys.modules) > modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
