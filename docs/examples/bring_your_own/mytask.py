"""Bring your own: will this patient come back within a month? One CSV of several clinics."""

from pathlib import Path

import pandas as pd

from federation.schema import Categorical, Numeric, SensitiveAttribute
from federation.tabular import TabularTask


def age_group(table: pd.DataFrame) -> pd.Series:
    """The sensitive attribute that is no column of its own."""
    age = pd.to_numeric(table["age"])
    return pd.Series(["65 and over" if a >= 65 else "under 65" for a in age], table.index)


task = TabularTask(
    Path(__file__).with_name("patients.csv"),
    site_column="clinic",
    label_column="readmitted",
    classes=("no", "yes"),  # the second is the positive class
    features=(  # ranges and levels are public knowledge, never taken from the rows
        Numeric("age", 18, 100, "years"),
        Numeric("stay", 0, 60, "days"),
        Numeric("creatinine", 0.3, 8, "mg/dl"),
        Categorical("ward", ("medicine", "surgery")),
        Categorical("admission", ("planned", "emergency")),
    ),
    attributes=(
        SensitiveAttribute("sex", ("F", "M")),
        SensitiveAttribute("age_group", ("under 65", "65 and over")),
    ),
    derived={"age_group": age_group},
    hidden=(),  # logistic regression; (16,) adds a hidden layer
)
