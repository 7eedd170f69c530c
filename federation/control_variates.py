"""SCAFFOLD's controls, made of nothing but the update that is summed anyway.

Karimireddy et al. 2020, "SCAFFOLD", arXiv:1910.06378, Algorithm 1 with option II. Site i keeps c_i,
the coordinator c; y is the site's model, x the global one, K the local steps, l their rate:

    step      y <- y - l (g_i(y) - c_i + c)
    site      c_i+ = c_i - c + (x - y_i) / (K l)
    server    x+ = x + l_g sum_S p_i D_i / sum_S p_i       with D_i = y_i - x, the update
              c+ = c + sum_S p_i (c_i+ - c_i)

p_i is the site's share of all declared rows (1/N in the paper, whose sites weigh alike), and S are
the sites that are in the round's sum. As c_i+ - c_i = -c - D_i / (K l), with P = sum_S p_i and the
mean update u = sum_S p_i D_i / P,

    c+ = c - P (c + u / (K l)),

so the coordinator needs no vector but the sum of updates: nothing more is sent, and nothing more is
released. Of the control that travelled, float32, both sides take the rounded value for c in the
bracket; and a site takes for D_i what it sent: clipped, and rounded to the ring. So

    c = sum_i p_i c_i     over all sites, in the sum or not,

holds from round to round but for the rounding of float64, whatever was clipped and whoever was
lost, provided that c_i+ replaces c_i at exactly the sites of S. It is this equation which makes the
optimum of all sites the fixed point: summed over all sites the corrections cancel.
"""

import numpy as np

from federation.task import Floats


def correction(control: Floats, own: Floats) -> Floats:
    """What a site adds to each gradient, shape (d,): c - c_i."""
    return control - own


def own_control(own: Floats, control: Floats, sent: Floats, travelled: float) -> Floats:
    """A site's control after a round that its update is in the sum of: c_i+.

    Args:
        own: before the round, shape (d,).
        control: the coordinator's, as it travelled, shape (d,).
        sent: the site's update as it was sent, without its weight, shape (d,).
        travelled: local steps times their learning rate, > 0.
    """
    return own - control - sent / travelled


def server_control(control: Floats, update: Floats, share: float, travelled: float) -> Floats:
    """The coordinator's control after a round: c+.

    Args:
        control: before the round, shape (d,), float64; float32 of it travelled.
        update: weighted mean of the updates in the sum, shape (d,).
        share: of all declared rows, those of the sites in the sum; in (0, 1].
        travelled: as in `own_control`.
    """
    sent = control.astype(np.float32).astype(np.float64)
    return control - share * (sent + update / travelled)
