"""A bar of what is spent of a budget, to stand in a table cell beside the numbers it draws."""

from markupsafe import Markup

from federation.report_page.number_text import percent
from federation.report_page.svg import element, line, picture


def budget_bar(name: str, spent: float, budget: float) -> Markup:
    """What is spent of a budget; the mark is the budget, and what lies past it is hatched.

    Args:
        name: whose budget it is.
        spent: >= 0, same unit as `budget`.
        budget: > 0.
    """
    width, height = 170.0, 12.0
    longest = max(spent, budget)
    mark = width * budget / longest
    parts = [element("rect", x=0, y=2, width=mark, height=8, rx=2, class_="track")]
    within = width * min(spent, budget) / longest
    parts.append(element("rect", x=0, y=2, width=within, height=8, rx=2, class_="spent"))
    if spent > budget:
        parts.append(element("rect", x=mark, y=2, width=width - mark, height=8, class_="over"))
        parts.append(line(mark, 0, mark, height, "limit"))
    share = percent(spent / budget)
    return picture(width, height, f"{name}: {share} of the budget", f"{share} is spent.", *parts)
