"""Unicode CLDR: 15,019 phrases of 12 languages, at sites that name different things.

How 12 languages call territories, languages, currencies, units, scripts, and cities, time zones,
months and days: from the Unicode Common Locale Data Repository, as it comes with Babel 2.18.0;
Unicode License v3. A site is a kind of thing; which language a phrase is in is known, not guessed,
and phrases that two of the languages write alike are left out (`data/extract_languages.py`).
"""

from functools import cache, cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.errors import ConfigError, DataError
from federation.schema import Numeric, SensitiveAttribute, TaskSchema
from federation.table_columns import level_codes
from federation.task import Codes, Floats, Rows, SiteData, SiteRequest
from simulations.tasks.character_transformer import CharacterTransformer
from simulations.tasks.low_rank import adapt
from simulations.tasks.random_split import require_share, split
from simulations.tasks.shipped_table import read_checked, read_shipped

SHA256 = "b5d12c25e704dd0d015eae8914a37c55a78e88e60ee8446e739ae3482d81380f"
BASE_SHA256 = "804c81fd1964761cbddfdf4b0b42637055a616ce3c2284e45385e4589d735489"
PHRASES = {
    "currencies": 3_448,
    "languages": 4_220,
    "scripts": 1_099,
    "territories": 1_968,
    "times": 2_794,
    "units": 1_490,
}
"""Per site."""

FAMILY = {
    "cs": "slavic", "de": "germanic", "es": "romance", "fi": "uralic", "fr": "romance",
    "hu": "uralic", "it": "romance", "nl": "germanic", "pl": "slavic", "pt": "romance",
    "sv": "germanic", "tr": "turkic",
}  # fmt: skip
LANGUAGES = tuple(FAMILY)
FAMILIES = ("germanic", "romance", "slavic", "turkic", "uralic")

# The letters of European alphabets; whatever else is one character, "other".
PLAIN = "abcdefghijklmnopqrstuvwxyz"
ACCENTED = "àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿāăąćčďđēęěėğģīįıķļłńņňőœŗřśşšșţťțūůűųźżžßə"
OTHER_SIGNS = "0123456789 '’ʻ().,-–/"
START, OTHER = 1, 2
CHARACTERS = {sign: code for code, sign in enumerate(PLAIN + ACCENTED + OTHER_SIGNS, OTHER + 1)}

LENGTH = 24
"""Characters that the model is given, the start among them."""
WIDTH, HEADS, BLOCKS = 32, 4, 2


def encode(phrases: list[str]) -> Tensor:
    """The codes of each phrase's first characters, shape (N, LENGTH), float32.

    Lower-case; START before them, PADDING = 0 after them.
    """
    codes = np.zeros((len(phrases), LENGTH), np.float32)
    for row, phrase in zip(codes, phrases, strict=True):
        known = [START, *(CHARACTERS.get(sign, OTHER) for sign in phrase.lower())][:LENGTH]
        row[: len(known)] = known
    return torch.from_numpy(codes)


def network(classes: int) -> CharacterTransformer:
    """The transformer that reads such codes."""
    characters = OTHER + 1 + len(CHARACTERS)
    return CharacterTransformer(characters, LENGTH, classes, WIDTH, HEADS, BLOCKS)


class LanguagesTask:
    """Which language is this phrase in? A character-level transformer over names of things."""

    def __init__(
        self,
        model: Literal["transformer", "lora"] = "transformer",
        rank: int = 4,
        held_out_fraction: float = 0.3,
    ) -> None:
        """Choose the model.

        Args:
            model: `transformer`: all of it is trained and travels. `lora`: it was trained on names
                in 24 other languages and is frozen; low-rank adapters beside its linear layers and
                a new last layer are trained and travel.
            rank: of the adapters, 1 to 32.
            held_out_fraction: share of a site's phrases that are never trained on.

        Raises:
            ConfigError: a bound is broken.
        """
        if not 1 <= rank <= WIDTH:
            raise ConfigError("task.options.rank", rank, f"a whole number from 1 to {WIDTH}")
        require_share(held_out_fraction)
        self._model, self._rank, self._held_out_fraction = model, rank, held_out_fraction

    @cached_property
    def schema(self) -> TaskSchema:
        """Length, words and accents of a phrase, for drift; the language's family as the group."""
        return TaskSchema(
            (
                Numeric("length", 1, 60, "characters"),
                Numeric("words", 1, 10),
                Numeric("accented", 0, 1, "share of characters"),
            ),
            "language",
            LANGUAGES,
            (SensitiveAttribute("family", FAMILIES),),
        )

    @property
    def sites(self) -> tuple[str, ...]:
        """What the phrases name."""
        return tuple(PHRASES)

    def build_model(self) -> nn.Module:
        """See `model`; the frozen parts are those of the file that was checked.

        Raises:
            DataError: `lora`, and that file is not what it was.
        """
        built = network(len(LANGUAGES))
        if self._model == "lora":
            learned = load_tensors(read_checked("languages_base.safetensors", BASE_SHA256))
            built.load_state_dict(learned, strict=False)  # all but the last layer, which is new
            adapt(built, self._rank)
            built.head = nn.Linear(WIDTH, len(LANGUAGES))
        return built

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy per phrase, nats, shape (B,)."""
        return cross_entropy(output, target, reduction="none")

    def probabilities(self, output: Tensor) -> Tensor:
        """Softmax, shape (N, 12)."""
        return output.double().softmax(dim=1)

    def load(self, request: SiteRequest) -> SiteData:
        """One site's phrases.

        Raises:
            DataError: the table is not the one that was checked.
        """
        table = _table()
        chosen = np.flatnonzero(table["names"] == request.site)
        parts = split(chosen, request, self._held_out_fraction)
        return SiteData(*(_rows(table.iloc[part]) for part in parts))


@cache
def _table() -> pd.DataFrame:
    table = read_shipped("languages.csv.gz", SHA256)
    counts = {str(kind): int(rows) for kind, rows in table["names"].value_counts().items()}
    if counts != PHRASES:
        raise DataError(f"languages.csv.gz: {counts} phrases, published are {PHRASES}")
    return table


def _rows(table: pd.DataFrame) -> Rows:
    phrases = table["phrase"].tolist()
    languages: Codes = level_codes(table["language"], LANGUAGES)
    families = np.array([FAMILIES.index(FAMILY[language]) for language in LANGUAGES], np.int64)
    features: dict[str, Floats] = {
        "length": np.array([len(phrase) for phrase in phrases], np.float64),
        "words": np.array([len(phrase.split()) for phrase in phrases], np.float64),
        "accented": np.array([_accented(phrase) for phrase in phrases], np.float64),
    }
    return Rows(
        encode(phrases),
        torch.from_numpy(languages.copy()),
        features,
        {"family": families[languages]},
    )


def _accented(phrase: str) -> float:
    return sum(sign in ACCENTED for sign in phrase.lower()) / len(phrase)
