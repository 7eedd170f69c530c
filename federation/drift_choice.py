"""Settings of the drift that a simulation injects into held-out rows."""

from typing import Annotated, Literal

from pydantic import Field

from federation.section import Name, Section


class InjectedDrift(Section):
    """A change of the held-out rows from some window on; rows that are trained on stay."""

    kind: Literal["covariate", "label", "concept"]
    """`covariate`: P(x) changes. `label`: P(y) changes, P(x | y) stays. `concept`: P(y | x)
    changes, P(x) stays."""
    how: Literal["resample", "shift"] = "resample"
    """Of covariate. `resample`: rows are drawn by their feature, so P(y | x) stays. `shift`: the
    feature is moved, by standard deviations; labels stay, so P(y | x) changes, too."""
    from_window: str
    """The first window that is changed."""
    over_windows: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Windows until the full strength is reached, in equal steps; 1 is a sudden change."""
    strength: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] = 1.0
    """Of covariate: standard deviations of the site's reference rows. Of label: the log of the
    factor by which `level` becomes more frequent. Of concept: the chance that a label is flipped,
    in (0, 1]."""
    feature: str = ""
    """Of covariate: the feature. Of concept: a feature or a sensitive attribute; all rows if left
    out."""
    level: str = ""
    """Of a categorical feature or an attribute: the level. Of label: the class; the last one if
    left out."""
    above: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Of concept and a numeric feature: rows with a larger value."""
    sites: tuple[Name, ...] = ()
    """Whose rows; all sites' if left out."""
