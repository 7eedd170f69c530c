"""The commented analytics.toml that `hedgerow analytics init` prints; a test reads it back."""

EXAMPLE = """\
# Questions about the pooled rows of all sites. Ask them with: hedgerow analytics run THIS_FILE
# Every line but the queries' own may be left out.
version = 1
name = "analytics"
seed = 2026                    # of the noise, in a simulation; a deployed site takes no seed
minimum_contributors = 3       # fewest sites whose rows are added up

[task]
name = "heart"                 # heart, acs-employment, digits, or "package.module:attribute"

[federation]
# sites = ["a", "b", "c"]      # default: all the task has data for
# quorum = 3                   # fewest sites whose sum may be opened; default: two thirds

[site_policy]                  # what each simulated site demands for itself
# epsilon_budget = 4.0         # default: what the queries cost together
delta = 1e-6
allow_exact = false            # true: queries without epsilon are answered exactly, unprotected

[[queries]]
name = "patients"
kind = "count"                 # of rows; with a column: of rows per level
epsilon = 0.5

[[queries]]
name = "chest-pain"
kind = "histogram"             # of levels, or of a number in `bins` bins
column = "cp"
epsilon = 0.5

[[queries]]
name = "age-of-women"
kind = "mean"                  # or "sum", "variance"
column = "age"
where = { sex = "Female" }
bounds = [18, 100]             # default: the public range; values beyond count as the bound
epsilon = 1.0

[[queries]]
name = "blood-pressure"
kind = "quantile"
column = "trestbps"
quantiles = [0.25, 0.5, 0.75]
resolution = 2.5               # half a bin's width; fewer bins carry less noise
epsilon = 1.0
"""
