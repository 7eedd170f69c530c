"""Numbers as a reader wants them: few digits, a unit, an interval, and never a false precision."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from federation.summary import Estimate

NOTHING = "–"
"""What stands where there is no number; the reason stands beside it."""

_WIDE = 0.05
"""An interval this wide leaves no meaning to a third decimal."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def rate(value: float | None, decimals: int = 3) -> str:
    """A share, score or index: 3 significant digits, and at most `decimals` decimals.

    A value that is not zero is never shown as zero.

    >>> rate(0.84217), rate(1.3402), rate(0.0001), rate(0.0), rate(None)
    ('0.842', '1.34', '< 0.001', '0', '–')
    """
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    least = 10.0**-decimals
    if abs(value) < least / 2:
        return f"< {least:.{decimals}f}" if value > 0 else f"> {_signed(-least, decimals)}"
    whole_digits = 0 if abs(value) < 1 else math.floor(math.log10(abs(value))) + 1
    return _signed(value, max(0, min(decimals, 3 - whole_digits)))


def difference(value: float, decimals: int = 3) -> str:
    """A difference of two rates, always with its sign.

    >>> difference(0.0213), difference(-0.0213), difference(0.0)
    ('+0.021', '−0.021', '0.000')
    """
    shown = round(value, decimals)
    sign = "+" if shown > 0 else ""
    return sign + _signed(shown or 0.0, decimals)


def estimate_decimals(estimate: Estimate) -> int:
    """Decimals an estimate deserves: 2 when its interval is 0.05 wide or wider, else 3."""
    if estimate.low is None or estimate.high is None:
        return 3
    return 2 if estimate.high - estimate.low >= _WIDE else 3


def estimate(value: Estimate | None) -> str:
    """The point estimate with as many decimals as its interval leaves a meaning to."""
    if value is None:
        return NOTHING
    if value.low is None or value.high is None or value.value is None:
        return rate(value.value)
    return _signed(value.value, estimate_decimals(value))


def interval(value: Estimate | None) -> str:
    """`low to high`, or nothing where there is no interval.

    >>> interval(Estimate(value=0.84, low=0.8214, high=0.8541))
    '0.821 to 0.854'
    """
    if value is None or value.value is None or value.low is None or value.high is None:
        return ""
    decimals = estimate_decimals(value)
    return f"{_signed(value.low, decimals)} to {_signed(value.high, decimals)}"


def epsilon(value: float | None) -> str:
    """An epsilon, rounded up to 3 significant digits: a bound may be over-, never under-stated.

    >>> epsilon(1.98101), epsilon(12.301), epsilon(2.0), epsilon(0.99991), epsilon(0.0)
    ('1.99', '12.4', '2.00', '1.00', '0')
    """
    if value is None:
        return NOTHING
    if value <= 0:
        return "0"
    decimals = 2 - math.floor(math.log10(value))
    # The tiny allowance keeps 2.0000000000000004, a sum of floats, from being shown as 2.01.
    upward = math.ceil(value * 10.0**decimals * (1 - 1e-12)) / 10.0**decimals
    # Rounding up may make a digit more of it: 0.9999 is 1.00.
    shown = decimals - (math.floor(math.log10(upward)) > math.floor(math.log10(value)))
    return f"{upward:,.{max(shown, 0)}f}"


def setting(value: float | None) -> str:
    """A number that somebody chose, as they wrote it; very small ones as a power of ten.

    >>> setting(2.0), setting(0.001), setting(0.00001), setting(2.5e-6)
    ('2', '0.001', '10⁻⁵', '2.5 × 10⁻⁶')
    """
    if value is None:
        return NOTHING
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:.6g}".replace("-", "−")
    mantissa, exponent = f"{value:.5e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".").replace("-", "−")
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if mantissa == "1" else f"{mantissa} × {power}"


def significant(value: float | None, digits: int = 3) -> str:
    """A measured number of any size, to 3 significant digits.

    >>> significant(0.43219), significant(1234.5), significant(3.3)
    ('0.432', '1,230', '3.30')
    """
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return _signed(round(value, decimals), max(decimals, 0))


def span(values: Sequence[float], digits: int = 3) -> str:
    """Measured numbers from the least to the largest, or the one that all of them are.

    >>> span([0.9, 1.1, 1.0]), span([1.0, 1.0001])
    ('0.900 to 1.10', '1.00')
    """
    least, largest = significant(min(values), digits), significant(max(values), digits)
    return least if least == largest else f"{least} to {largest}"


def count(value: int | None) -> str:
    """A whole number with thousands separated.

    >>> count(12345)
    '12,345'
    """
    return NOTHING if value is None else f"{value:,}"


def percent(share: float | None) -> str:
    """A share as a percentage, one decimal below 10 %.

    >>> percent(0.0312), percent(0.312), percent(0.0), percent(0.0001)
    ('3.1 %', '31 %', '0 %', '< 0.1 %')
    """
    if share is None:
        return NOTHING
    if share == 0:
        return "0 %"
    if share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """A span of time in its two largest units.

    >>> duration(0.42), duration(8.31), duration(192), duration(7380)
    ('0.42 s', '8.3 s', '3 min 12 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def size(octets: int) -> str:
    """A number of bytes in decimal units.

    >>> size(512), size(162_304), size(3_200_000)
    ('512 bytes', '162 kB', '3.2 MB')
    """
    amount, unit = float(octets), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    decimals = 1 if unit and amount < 9.95 else 0
    return f"{amount:.{decimals}f} {_UNITS[unit]}"


def moment(text: str) -> str:
    """An ISO 8601 time as `2026-03-01 12:00:05 UTC`; any other text as it stands.

    >>> moment("2026-03-01T13:00:05.123+01:00"), moment("yesterday")
    ('2026-03-01 12:00:05 UTC', 'yesterday')
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    if when.tzinfo is None:
        return f"{when:%Y-%m-%d %H:%M:%S}"
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def listing(names: tuple[str, ...]) -> str:
    """Names as a phrase.

    >>> listing(("a",)), listing(("a", "b", "c"))
    ('a', 'a, b and c')
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _signed(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".replace("-", "−")
