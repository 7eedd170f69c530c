"""What workers of the embedded engine are forked with: the apps, and what they import at first use.

`torch.optim` imports its compiler, hundreds of modules, when the first optimizer is made. Imported
before the workers are forked, it is in memory once.
"""

import simulation_apps  # noqa: F401
import torch._dynamo  # noqa: F401
