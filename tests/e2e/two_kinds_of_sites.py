"""Eight sites of two kinds, which differ in age and in a test; in window 2 two differ alone.

One site has no rows in window 2.
"""

import numpy as np
import pandas as pd

from federation.schema import Categorical, Numeric, SensitiveAttribute
from federation.tabular import TabularTask

SITES = tuple(f"site-{letter}" for letter in "abcdefgh")
OLDER = frozenset({"site-a", "site-d", "site-e", "site-h"})
OLDER_LATER = frozenset({"site-a", "site-d"})
EMPTY_LATER = "site-h"
ROWS = 160


class TwoKinds(TabularTask):
    """Ill or not, of age, a laboratory value that differs nowhere, and a test's outcome."""

    def __init__(self) -> None:
        """Rows are drawn anew, the same each time."""
        super().__init__(
            lambda: pd.concat(map(_site, SITES), ignore_index=True),
            site_column="site",
            label_column="ill",
            classes=("no", "yes"),
            features=(
                Numeric("age", 0, 100, "years"),
                Numeric("value", 0, 10, "mmol/l"),
                Categorical("test", ("negative", "positive")),
            ),
            attributes=(SensitiveAttribute("sex", ("male", "female")),),
            held_out_fraction=0.6,
            window_column="window",
            current_windows=("2",),
        )


def _site(site: str) -> pd.DataFrame:
    draws = np.random.default_rng(SITES.index(site))
    later = (np.arange(ROWS) % 3 == 0) & (site != EMPTY_LATER)
    older = np.where(later, site in OLDER_LATER, site in OLDER)
    age = np.clip(draws.normal(np.where(older, 68, 42), 9), 0, 100)
    positive = draws.random(ROWS) < np.where(older, 0.6, 0.3)
    ill = draws.random(ROWS) < 1 / (1 + np.exp(-(age - 55) / 10))
    return pd.DataFrame(
        {
            "site": site,
            "window": np.where(later, "2", "1"),
            "age": [f"{each:.1f}" for each in age],
            "value": [f"{each:.2f}" for each in np.clip(draws.normal(5, 2, ROWS), 0, 10)],
            "test": np.where(positive, "positive", "negative"),
            "sex": draws.choice(["male", "female"], ROWS),
            "ill": np.where(ill, "yes", "no"),
        }
    )
