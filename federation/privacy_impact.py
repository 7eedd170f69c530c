"""Whom privacy costs most: the same federation trained at several epsilons, group by group."""

from federation.summary import Estimate, Part


class GroupImpact(Part):
    """One group at one epsilon.

    Attributes:
        rows: held-out rows of the group, in the split that has the fewest.
        accuracy: mean over the seeds; `low` and `high` are the smallest and the largest.
        true_positive_rate: likewise; None with more than two classes.
    """

    attribute: str
    group: str
    rows: int
    accuracy: Estimate
    true_positive_rate: Estimate | None = None


class GapImpact(Part):
    """One gap between groups at one epsilon; mean, smallest and largest over the seeds."""

    attribute: str
    metric: str
    value: Estimate


class ImpactPoint(Part):
    """What came of training at one epsilon.

    Attributes:
        epsilon: per record; None without privacy.
        accuracy: of all held-out rows; mean, smallest and largest over the seeds.
    """

    epsilon: float | None
    accuracy: Estimate
    groups: tuple[GroupImpact, ...]
    gaps: tuple[GapImpact, ...]


class PrivacyImpact(Part):
    """The sweep, from no privacy to the most.

    Attributes:
        seeds: that each epsilon was trained with.
        rounds: of each run.
        points: without privacy first, then by falling epsilon.
    """

    seeds: tuple[int, ...]
    rounds: int
    points: tuple[ImpactPoint, ...]

    def hardest_hit(self) -> tuple[GroupImpact, float] | None:
        """The group that loses most accuracy at the smallest epsilon, and how much; None if nobody.

        Against the run without privacy, of the groups whose accuracy is known in both.
        """
        first, last = self.points[0], self.points[-1]
        if first.epsilon is not None or first is last:
            return None
        before = {(g.attribute, g.group): g.accuracy.value for g in first.groups}
        losses = [
            (group, loss - after)
            for group in last.groups
            if (loss := before.get((group.attribute, group.group))) is not None
            and (after := group.accuracy.value) is not None
        ]
        worst = max(losses, key=lambda one: one[1], default=None)
        return worst if worst is not None and worst[1] > 0 else None
