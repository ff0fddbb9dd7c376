"""What an export gave."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Deployed:
    """A file that was read again, run beside the network it came from, and timed.

    Attributes:
        path: The file, or the folder.
        to: Its format.
        bytes: Its size, of all files in it.
        difference: Largest absolute difference of an output.
        scale: Largest absolute output of the network, to judge the difference by.
        network_ms: Median time of the network in PyTorch eager, interleaved with the other.
        file_ms: Median time of what was read from the file.
        threads: Threads of both.
    """

    path: Path
    to: str
    bytes: int
    difference: float
    scale: float
    network_ms: float
    file_ms: float
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.path} ({self.to}, {self.bytes:,} bytes): read again, largest difference "
            f"{self.difference:.3g} of outputs up to {self.scale:.3g}; {self.file_ms:.3f} ms against "
            f"{self.network_ms:.3f} ms of the network in PyTorch eager, {self.threads} threads"
        )
