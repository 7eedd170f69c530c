"""The data audit: what is wrong with a site's rows, in full for the site, in sums for the rest."""
