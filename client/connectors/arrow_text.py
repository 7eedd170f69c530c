"""`federation.cell_text` for whole Arrow columns: the same text, without a value per cell."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from federation.cell_text import MISSING, text_column

pc: Any = compute  # its functions are made when it is imported; no type checker sees them

SMALLEST_SAME, LARGEST_SAME = 1e-3, 1e9
"""Numbers within are written alike by Arrow and by us."""


def arrow_text(column: Any, name: str, source: str) -> pd.Series:
    """The cells of an Arrow array as text or missing, shape (N,).

    Raises:
        DataError: cells of a kind that has no text, such as bytes or lists.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_integer(kind):
        texts = column.cast(pa.string())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        trimmed = pc.utf8_ltrim(column, " ")
        texts = pc.if_else(pc.is_in(trimmed, pa.array(sorted(MISSING), kind)), None, trimmed)
    elif pa.types.is_float32(kind) or pa.types.is_float64(kind):
        texts = _number_texts(column)
    else:
        return text_column(column.to_pylist(), name, source)
    return pd.Series(texts.to_pandas(), dtype="str", name=name)


def _number_texts(column: Any) -> Any:
    """Arrow's shortest text where it is ours; the rest, which is rare, one by one."""
    texts = column.cast(pa.string())
    values = column.to_numpy(zero_copy_only=False)
    absent, size = np.isnan(values), np.abs(values)
    # Arrow writes 1e+15, 0.00001 and -0.
    odd = ((size >= LARGEST_SAME) | (size < SMALLEST_SAME)) & ((size != 0) | np.signbit(values))
    texts = pc.if_else(pa.array(absent), None, texts)
    if not odd.any():
        return texts
    # Of float32 the shortest text of that precision, read as a double, is the number that is meant.
    meant = [float(str(value)) for value in values[odd]]
    mended = text_column(meant, "", "").to_numpy(object)
    return pc.replace_with_mask(texts, pa.array(odd), pa.array(list(mended), pa.string()))
