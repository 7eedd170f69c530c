"""A table of a settings file as a frozen, strict type, and the kinds of value that tables share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FEWEST_SITES = 3
"""With two sites each learns the other's update from the sum; Bonawitz et al. 2017 need three."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
PublicRows = Annotated[int, Field(ge=1, lt=2**31)]
"""A site's training rows, as it declares them in public."""
OptionValue = bool | int | float | str | tuple[str, ...] | tuple[int, ...] | tuple[float, ...]


class Section(BaseModel):
    """A table of the file: frozen, no unknown key, no silent conversion."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
