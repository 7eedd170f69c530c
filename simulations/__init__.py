"""Federations on one machine: tasks on real data, simulated sites, backends, baselines."""
