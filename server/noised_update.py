"""A sum of updates that carries noise: what is surplus of it, what is measured, and the update."""

import math
from dataclasses import replace

import numpy as np

from federation.agreement import Agreement
from federation.layout import VectorLayout
from federation.round_layout import UPDATE
from federation.summary import NoiseMeasure
from federation.task import Floats
from privacy.noise_meter import read_noise
from privacy.noised_sum import decoded_sum
from privacy.run_plan import noise_in_the_sum, rotation_seed
from privacy.surplus_noise import surplus_noise
from server.secure_round import SecureSum


def without_surplus(agreement: Agreement, layout: VectorLayout, outcome: SecureSum) -> SecureSum:
    """The sum less the noise that survivors revealed as surplus; as it is if there is none.

    Args:
        agreement: of the run.
        layout: of a training round.
        outcome: of such a round.
    """
    plan = noise_in_the_sum(agreement)
    if plan is None or plan.surplus is None:
        return outcome
    seeds, survivors = outcome.noise_seeds.values(), len(outcome.survivors)
    surplus = surplus_noise(plan.surplus, plan.dimension, survivors, seeds)
    total = outcome.total.copy()
    layout.add(total, UPDATE, -surplus)
    return replace(outcome, total=total)


def put_back_in_place(
    agreement: Agreement, sums: dict[str, Floats], outcome: SecureSum, round_: int
) -> NoiseMeasure | None:
    """Undo the rotation of the update among `sums`; returns what its noise was measured to be.

    None, and nothing is changed, where the sum carries no noise.
    """
    plan, terms = noise_in_the_sum(agreement), agreement.noise_in_the_sum
    if plan is None or terms is None:
        return None
    units = np.rint(sums[UPDATE] / plan.granularity).astype(np.int64)
    whole = decoded_sum(plan, units, rotation_seed(agreement, round_))
    model = terms.dimension - terms.meter_coordinates
    sums[UPDATE] = whole[:model]
    sites = len(outcome.survivors)
    # Of who revealed nothing all the noise is still in the sum.
    variance = plan.sum_variance(sites, silent=sites - len(outcome.noise_seeds))
    reading = read_noise(
        whole[model:] / plan.granularity,
        float(variance / sites),
        sites,
        # A rounded coordinate is off by a coin of a step's width at most.
        rounding_variance=sites / 4,
    )
    return NoiseMeasure(
        noise_multiplier=math.sqrt(variance / plan.sensitivity.squared_l2),
        ratio=reading.ratio,
        p_value=reading.p_value,
        alarm=reading.alarm,
        too_little=reading.is_too_little,
        coordinates=reading.coordinates,
    )
