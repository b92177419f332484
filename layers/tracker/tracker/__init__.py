"""The deployment tracker: what every function shares, laid out as on Lambda's /opt/python."""

import warnings

# A call may well have nothing to count.
warnings.filterwarnings("ignore", "No application metrics to publish")
