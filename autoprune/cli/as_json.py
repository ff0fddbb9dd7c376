"""Results as JSON, for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoprune.cli.events import plain

if TYPE_CHECKING:
    from autoprune.cli.compare import Row
    from autoprune.run.result import SearchResult


def as_json(body: Mapping[str, Any]) -> str:
    """One object, indented; what is not a finite number is null."""
    return json.dumps(plain(body), indent=1)


def of_search(result: "SearchResult", rows: "Sequence[Row]", reason: str) -> dict[str, Any]:
    """The result of a search.

    Args:
        result: Of the search.
        rows: The comparison.
        reason: Why there is none, or nothing.
    """
    folder = result.run_dir
    page = folder and folder / "report.html"
    return {
        "run_dir": folder,
        "pruned": folder and folder / "pruned",
        "report": page if page and page.is_file() else None,
        "episodes": len(result.history),
        "stopped": result.stopped,
        "best_episode": result.best.number,
        "limits": result.limits,
        "widths": result.plan.widths,
        "networks": [
            {
                "name": row.name,
                "costs": row.costs,
                "milliseconds": row.milliseconds,
                "score": row.score,
                "test_accuracy": row.before,
                "test_accuracy_finetuned": row.after,
            }
            for row in rows
        ],
        "found": {
            "costs": result.found.costs,
            "score": result.found.evaluation.score,
            "metrics": result.found.evaluation.metrics,
        },
        "remarks": [*result.remarks, *([reason] if reason else [])],
    }
