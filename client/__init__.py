"""The site's half: an agent that holds everything, and a courier that carries messages to it."""

# The bundle that Flower ships holds this file and courier.py alone; the rest of the package is the
# site's own installation, found further down sys.path.
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
