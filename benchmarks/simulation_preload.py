"""What workers of the embedded engine are forked with: the apps."""

import simulation_apps  # noqa: F401
