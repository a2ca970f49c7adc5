"""What all rooms need of a model."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # at its import it tells of kernels that it may not fetch
