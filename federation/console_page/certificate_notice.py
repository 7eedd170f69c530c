"""From when on a certificate's end calls for somebody."""

from collections.abc import Iterator

from federation.console_page.page import Notice

WATCH_DAYS, ACT_DAYS = 30.0, 7.0


def end_notice(what: str, days: float) -> Iterator[Notice]:
    """A notice if a certificate has ended or soon will.

    Args:
        what: whose.
        days: until its end; negative once it is past.
    """
    if days < 0:
        yield Notice("Act", "certificates", f"The certificate of {what} has expired.")
    elif days < WATCH_DAYS:
        words = f"The certificate of {what} ends in {days:.0f} days: renew it."
        yield Notice("Act" if days < ACT_DAYS else "Watch", "certificates", words)
