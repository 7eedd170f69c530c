"""American Community Survey, Massachusetts 2015 to 2018: employed or not, 24,000 people.

US Census Bureau, ACS Public Use Microdata Sample; public domain. The file has no geography, so
sites are simulated: regions (a fixed random share each), or years.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, Unpack

import numpy as np
import pandas as pd

from federation.boosted_trees import TreeOptions
from federation.config_file import require_known
from federation.errors import ConfigError
from federation.schema import Categorical, Numeric, SensitiveAttribute
from federation.tabular import TabularTask
from federation.tabular_model import TabularModel
from simulations.tasks.shipped_table import read_shipped, require_facts

SHA256 = "7f768c291d9110da4ccbf8bff79594b2d28cd2c8d0e5b2470df817e29ad105b9"
FACTS = {"2015": (6000, 2975), "2016": (6000, 3006), "2017": (6000, 3019), "2018": (6000, 3031)}
"""Rows and employed people per year of the sample; the whole survey is 49.6 to 50.5 % employed."""

REGIONS = 12
SHARDS = 3
LATEST = "2018"


def _codes(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(code) for code in range(first, last + 1))


FEATURES = (
    Numeric("AGEP", 0, 99, "years"),
    Numeric("SCHL", 0, 24, "level of schooling"),
    Categorical("MAR", _codes(1, 5)),
    Categorical("RELP", _codes(0, 17)),
    Categorical("DIS", _codes(1, 2)),
    Categorical("CIT", _codes(1, 5)),
    Categorical("MIG", _codes(0, 3)),
    Categorical("MIL", _codes(0, 4)),
    Categorical("ANC", _codes(1, 4)),
    Categorical("NATIVITY", _codes(1, 2)),
    Categorical("DEAR", _codes(1, 2)),
    Categorical("DEYE", _codes(1, 2)),
    Categorical("DREM", _codes(0, 2)),
)
RACES = {"1": "white", "2": "black", "6": "asian"}


class AcsEmploymentTask(TabularTask):
    """Is this person employed? Census records, held out by region and by time."""

    def __init__(
        self,
        sites_by: Literal["region", "year"] = "region",
        hidden: Sequence[int] | None = None,
        regions: int = REGIONS,
        *,
        model: TabularModel | None = None,
        **boosting: Unpack[TreeOptions],
    ) -> None:
        """Choose what a site is.

        Args:
            sites_by: `region`: simulated regions; 2015 to 2017 are trained on and held out as
                reference, 2018 is the current window. `year`: 12 sites, three a year, and the years
                make the cohorts.
            hidden: widths of hidden layers; (32,) if neither this nor `model` is given.
            regions: how many there are, 3 to 99; not by `year`.
            model: see `TabularTask`.
            boosting: see `TabularTask`.

        Raises:
            ConfigError: `sites_by` is neither, or another number of regions.
        """
        if not 3 <= regions <= 99:
            raise ConfigError("task.options.regions", regions, "a whole number from 3 to 99")
        require_known("task.options.sites_by", sites_by, ("region", "year"))
        by_region = sites_by == "region"
        super().__init__(
            partial(_with_regions, regions) if by_region else _with_years,
            site_column="site",
            label_column="employed",
            classes=("0", "1"),
            features=FEATURES,
            attributes=(
                SensitiveAttribute("sex", ("male", "female")),
                SensitiveAttribute("race", (*RACES.values(), "other")),
                SensitiveAttribute("disability", ("with", "without")),
            ),
            derived={
                "sex": lambda table: table["SEX"].map({"1": "male", "2": "female"}),
                "race": lambda table: table["RAC1P"].map(RACES).fillna("other"),
                "disability": lambda table: table["DIS"].map({"1": "with", "2": "without"}),
            },
            derived_columns=("SEX", "RAC1P"),
            hidden=(32,) if hidden is None and model is None else hidden,
            model=model,
            **boosting,
            window_column="year" if by_region else None,
            current_windows=(LATEST,) if by_region else (),
        )


def _with_regions(regions: int) -> pd.DataFrame:
    table = _table()
    region = np.random.default_rng(2026).integers(1, regions + 1, len(table))
    return table.assign(site=[f"region-{number:02d}" for number in region])


def _with_years() -> pd.DataFrame:
    table = _table()
    shard = np.random.default_rng(2026).integers(1, SHARDS + 1, len(table))
    return table.assign(site=[f"y{y}-{s}" for y, s in zip(table["year"], shard, strict=True)])


def _table() -> pd.DataFrame:
    table = read_shipped("acs_employment_ma.csv.gz", SHA256)
    require_facts(table, "year", ("employed", "1"), FACTS)
    return table
