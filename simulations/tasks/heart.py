"""UCI Heart Disease: four hospitals as four sites, sex and age group as sensitive attributes.

Janosi, Steinbrunn, Pfisterer and Detrano 1989, https://doi.org/10.24432/C52P4X, CC BY 4.0.
"""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd

from federation.boosted_trees import TreeOptions
from federation.schema import Categorical, Numeric, SensitiveAttribute
from federation.tabular import TabularTask
from federation.tabular_model import TabularModel
from simulations.tasks.shipped_table import read_shipped, require_facts

SHA256 = "3658f2bbd2cc576f43015dc65dd742b7387f52e1f3dc58aadbb827ceb846798c"
FACTS = {
    "cleveland": (303, 139),
    "hungary": (294, 106),
    "switzerland": (123, 115),
    "va_long_beach": (200, 149),
}
"""Rows and patients with disease (num > 0) per hospital, as UCI publishes them."""

# Ranges from clinical knowledge, not from the rows: what a measurement can plausibly be.
FEATURES = (
    Numeric("age", 18, 100, "years"),
    Categorical("sex", ("Female", "Male")),
    Categorical("cp", ("typical angina", "atypical angina", "non-anginal", "asymptomatic")),
    Numeric("trestbps", 70, 230, "mmHg"),
    Numeric("chol", 80, 620, "mg/dl"),
    Categorical("fbs", ("FALSE", "TRUE")),
    Categorical("restecg", ("normal", "st-t abnormality", "lv hypertrophy")),
    Numeric("thalach", 50, 220, "beats/min"),
    Categorical("exang", ("FALSE", "TRUE")),
    Numeric("oldpeak", -3, 7, "mm"),
    Categorical("slope", ("upsloping", "flat", "downsloping")),
    Numeric("ca", 0, 3, "vessels"),
    Categorical("thal", ("normal", "fixed defect", "reversable defect")),
)
AGE_GROUPS = ("under 50", "50 to 59", "60 and over")


def age_group(table: pd.DataFrame) -> pd.Series:
    """The age group of each row."""
    age = pd.to_numeric(table["age"])
    return pd.Series(np.select([age < 50, age < 60], AGE_GROUPS[:2], AGE_GROUPS[2]), table.index)


class HeartTask(TabularTask):
    """Has this patient a narrowed coronary artery? 920 patients of four hospitals."""

    def __init__(
        self,
        hidden: Sequence[int] | None = None,
        held_out_fraction: float = 0.3,
        *,
        model: TabularModel | None = None,
        **boosting: Unpack[TreeOptions],
    ) -> None:
        """See `TabularTask`; logistic regression if neither `model` nor `hidden` is given."""
        super().__init__(
            _table,
            site_column="site",
            label_column="disease",
            classes=("no", "yes"),
            features=FEATURES,
            attributes=(
                SensitiveAttribute("sex", ("Female", "Male")),
                SensitiveAttribute("age_group", AGE_GROUPS),
            ),
            derived={"age_group": age_group},
            derived_columns=(),
            hidden=hidden,
            model=model,
            **boosting,
            held_out_fraction=held_out_fraction,
        )


def _table() -> pd.DataFrame:
    table = read_shipped("heart.csv", SHA256)
    require_facts(table, "site", ("disease", "yes"), FACTS)
    return table
