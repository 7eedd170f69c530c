"""UCI Adult: has this person an income above 50,000 dollars? 48,842 people of the 1994 US census.

Becker and Kohavi 1996, https://doi.org/10.24432/C5XW20, CC BY 4.0; brought here by
`hedgerow data fetch adult`. The published test set is the current window. The file says nothing of
where people live, so sites are simulated: a fixed random share of the people each. What is wrong
with its age and its threshold: Ding et al. 2021, arXiv:2108.04884. A test bed, no model to use.
"""

import io
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from typing import Unpack

import numpy as np
import pandas as pd

from federation.boosted_trees import TreeOptions
from federation.errors import ConfigError, DataError
from federation.schema import Categorical, Numeric, SensitiveAttribute
from federation.tabular import TabularTask
from federation.tabular_model import TabularModel
from simulations import public_data
from simulations.tasks.shipped_table import require_facts

COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country", "income",
)  # fmt: skip
FACTS = {"train": (32_561, 7_841), "test": (16_281, 3_846)}
"""People and those above 50,000 dollars, as adult.names has them."""
TEST = "test"

# Levels as adult.names lists them, ranges from what the words mean. `fnlwgt` is a weight of the
# sample and `education` says what `education-num` says; sex and race are compared, not put in.
FEATURES = (
    Numeric("age", 17, 90, "years"),
    Categorical("workclass", (
        "Private", "Self-emp-not-inc", "Self-emp-inc", "Federal-gov", "Local-gov", "State-gov",
        "Without-pay", "Never-worked",
    )),
    Numeric("education-num", 1, 16, "level of schooling"),
    Categorical("marital-status", (
        "Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed",
        "Married-spouse-absent", "Married-AF-spouse",
    )),
    Categorical("occupation", (
        "Tech-support", "Craft-repair", "Other-service", "Sales", "Exec-managerial",
        "Prof-specialty", "Handlers-cleaners", "Machine-op-inspct", "Adm-clerical",
        "Farming-fishing", "Transport-moving", "Priv-house-serv", "Protective-serv", "Armed-Forces",
    )),
    Categorical("relationship", (
        "Wife", "Own-child", "Husband", "Not-in-family", "Other-relative", "Unmarried",
    )),
    Numeric("capital-gain", 0, 100_000, "dollars", scale="asinh", scale_unit=1000),
    Numeric("capital-loss", 0, 5_000, "dollars", scale="asinh", scale_unit=1000),
    Numeric("hours-per-week", 1, 99, "hours"),
    Categorical("native-country", (
        "United-States", "Cambodia", "England", "Puerto-Rico", "Canada", "Germany",
        "Outlying-US(Guam-USVI-etc)", "India", "Japan", "Greece", "South", "China", "Cuba", "Iran",
        "Honduras", "Philippines", "Italy", "Poland", "Jamaica", "Vietnam", "Mexico", "Portugal",
        "Ireland", "France", "Dominican-Republic", "Laos", "Ecuador", "Taiwan", "Haiti", "Columbia",
        "Hungary", "Guatemala", "Nicaragua", "Scotland", "Thailand", "Yugoslavia", "El-Salvador",
        "Trinadad&Tobago", "Peru", "Hong", "Holand-Netherlands",
    )),
)  # fmt: skip
RACES = ("White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black")


class AdultTask(TabularTask):
    """Is this person's income above 50,000 dollars a year?"""

    def __init__(
        self,
        clients: int = 10,
        hidden: Sequence[int] | None = None,
        held_out_fraction: float = 0.3,
        *,
        model: TabularModel | None = None,
        **boosting: Unpack[TreeOptions],
    ) -> None:
        """See `TabularTask`; logistic regression if neither `model` nor `hidden` is given.

        Args:
            clients: number of sites, 3 to 99.
            hidden: widths of hidden layers.
            held_out_fraction: share of the published training set that is never trained on.
            model: see `TabularTask`.
            boosting: see `TabularTask`.

        Raises:
            ConfigError: a bound is broken.
        """
        if not 3 <= clients <= 99:
            raise ConfigError("task.options.clients", clients, "a whole number from 3 to 99")
        self._clients = clients
        super().__init__(
            partial(_at_sites, clients),
            label_column="income",
            classes=("<=50K", ">50K"),
            features=FEATURES,
            attributes=(
                SensitiveAttribute("sex", ("Female", "Male")),
                SensitiveAttribute("race", RACES),
            ),
            hidden=hidden,
            model=model,
            **boosting,
            held_out_fraction=held_out_fraction,
            window_column="split",
            current_windows=(TEST,),
        )

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """`site-01` and on, whether the data are here or not."""
        return tuple(f"site-{number:02d}" for number in range(1, self._clients + 1))


def _at_sites(clients: int) -> pd.DataFrame:
    files = public_data.read("adult")
    table = people(files["adult.data"], files["adult.test"])
    require_facts(table, "split", ("income", ">50K"), FACTS)
    site = np.random.default_rng(2026).integers(1, clients + 1, len(table))
    return table.assign(site=[f"site-{number:02d}" for number in site])


# One process plays many sites, each of which reads the table.
@lru_cache(maxsize=1)
def people(train: bytes, test: bytes) -> pd.DataFrame:
    """Both files as one table, all cells as text or missing, with a column `split`.

    Args:
        train: adult.data: no header, ", " between cells, "?" for what is missing.
        test: adult.test: a comment before the rows, and a dot after each label.

    Raises:
        DataError: they have another form.
    """
    parts = [_part(train, skipped=0).assign(split="train"), _part(test, skipped=1)]
    parts[1] = parts[1].assign(split=TEST, income=parts[1]["income"].str.removesuffix("."))
    return pd.concat(parts, ignore_index=True)


def _part(data: bytes, skipped: int) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            io.BytesIO(data), header=None, dtype=str, skipinitialspace=True, skiprows=skipped,
            na_values=["?"], keep_default_na=False,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"adult: no table in the published form: {error}") from error
    if len(table.columns) != len(COLUMNS):
        raise DataError(f"adult: {len(table.columns)} columns, published are {len(COLUMNS)}")
    return table.set_axis(list(COLUMNS), axis="columns")
