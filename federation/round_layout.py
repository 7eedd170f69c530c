"""Which segments a site's vector has in a training and in an evaluation round.

Both sides build the layout from the agreement, and its digest is bound into every mask key: a
coordinator that reads the vector otherwise than the sites wrote it gets noise.
"""

from dataclasses import replace
from enum import StrEnum

from federation.agreement import Agreement, NoiseInTheSum
from federation.errors import ConfigError
from federation.layout import Segment, VectorLayout, count_segment, finest_segment

UPDATE = "update"
WEIGHT = "weight"
UPDATE_NORM = "training/update_norm"
CLIPPED_UPDATES = "training/clipped_updates"
TRAINING_LOSS = "training/loss"
PRESENT = "present"

LARGEST_TRAINING_LOSS = 1e3
"""Nats; a mean training loss beyond it is sent as this much."""


class RoundKind(StrEnum):
    """A training round carries an update; the others carry counts only.

    An evaluation round judges the model of its run on held-out rows; measuring is the same outside
    a run, stage by stage; an analytics round answers queries.
    """

    TRAIN = "train"
    EVALUATE = "evaluate"
    ANALYZE = "analyze"
    MEASURE = "measure"


def scoped(scope: str, name: str) -> str:
    """Name of a counted segment within `overall` or a cohort."""
    return f"{scope}/{name}"


def training_layout(
    agreement: Agreement, parameters: int, outcomes: tuple[Segment, ...]
) -> VectorLayout:
    """Update, weight, training metrics, and the outcome tallies of the incoming model.

    Where sites sum in groups, no tallies: `federation.sum_groups` says why. Nor where held-out rows
    are counted with noise only: each round would cost a release.

    Args:
        agreement: of the run.
        parameters: number of trainable parameters.
        outcomes: segments of one scope's outcome tallies.

    Raises:
        ConfigError: a sum could overflow the ring.
    """
    summands = len(agreement.sites)
    clip = agreement.training.update_clip
    weight = count_segment(WEIGHT, 1, max(agreement.public_rows.values()), summands)
    if agreement.noise_in_the_sum is not None:
        # Norms and losses would be further releases of the same update, without noise.
        own = [_noised_update(agreement.noise_in_the_sum, parameters), weight]
        counted = _in_scopes(agreement, outcomes) if agreement.counts_in_training else ()
        return VectorLayout((*own, *counted), summands)
    rules = agreement.federation
    own = [
        finest_segment(UPDATE, parameters, clip, summands, rules.update_bits, rules.rounding),
        weight,
        finest_segment(UPDATE_NORM, 1, clip, summands),
        count_segment(CLIPPED_UPDATES, 1, 1, summands),
    ]
    if agreement.privacy is None:
        # With DP on, the training loss would be a second, unaccounted release of the same rows.
        own.append(finest_segment(TRAINING_LOSS, 1, LARGEST_TRAINING_LOSS, summands))
    counted = _in_scopes(agreement, outcomes) if agreement.counts_in_training else ()
    return VectorLayout((*own, *counted), summands)


def _noised_update(noise: NoiseInTheSum, parameters: int) -> Segment:
    """Whole units of signal; the noise is added modulo the ring."""
    if noise.dimension != parameters + noise.meter_coordinates:
        raise ConfigError(
            "noise_in_the_sum.dimension",
            noise.dimension,
            f"{parameters} parameters and {noise.meter_coordinates} coordinates of the meter",
        )
    bound = noise.largest_code * noise.granularity
    return Segment(UPDATE, noise.dimension, bound, noise.granularity, noise.ring_bits)


def evaluation_layout(
    agreement: Agreement, outcomes: tuple[Segment, ...], windows: tuple[Segment, ...]
) -> VectorLayout:
    """Outcome tallies of the incoming model and the feature histograms of both windows.

    The histograms travel here and not in every training round: they hardly change, so for a site
    that is in one sum and not in the next they could be had by subtraction. They travel once for
    each final model that is evaluated; a retry resends the same vector to the same survivors. A run
    without interruption has one final model. Each time that it stops and goes on it has one more,
    at most `rounds + 1` in all, and between these evaluations that subtraction is possible.

    Where held-out rows are counted with noise only, the round carries none: sites are shown the
    final model, so that they know it when they are asked to judge it.

    Raises:
        ConfigError: a sum could overflow the ring.
    """
    summands = len(agreement.sites)
    if not agreement.counts_exactly:
        return VectorLayout((count_segment(PRESENT, 1, 1, summands),), summands)
    return VectorLayout(_in_scopes(agreement, outcomes + windows), summands)


def _in_scopes(agreement: Agreement, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    return tuple(
        replace(segment, name=scoped(scope, segment.name))
        for scope in agreement.all_scopes
        for segment in segments
    )
