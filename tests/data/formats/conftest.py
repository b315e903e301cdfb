"""The small dataset of the neighbouring tests serves these too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
