"""Names of run folders."""

import re
from datetime import datetime
from pathlib import Path


def default_run_dir(model: str) -> Path:
    """A new folder below `runs`, after the callable and the time: no result is lost for want of a name."""
    name = re.sub(r"\W+", "-", model.partition(":")[2]).strip("-")
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
