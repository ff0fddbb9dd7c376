"""The errors that autoprune raises on purpose.

Every message is one sentence that names the argument, the rule and the value, and says what to do.
"""


class AutopruneError(Exception):
    """Base of every error that autoprune raises on purpose."""


class ArgumentError(AutopruneError, ValueError):
    """An argument is outside what the function accepts."""


class TraceError(AutopruneError):
    """`torch.export` refused the model, so that no graph can be traced."""


class ModelError(AutopruneError):
    """The model itself cannot be worked with: NaN weights or outputs, nothing to prune, a failed surgery."""


class DataError(AutopruneError):
    """A loader is empty, or its batches do not fit the model."""


class BudgetError(AutopruneError, ValueError):
    """A budget does not parse, or no candidate can meet it."""


class PlanError(AutopruneError):
    """A plan, or a file that holds one, is damaged or belongs to another network."""


class RunError(AutopruneError):
    """A run directory cannot be used, written or resumed."""


class MaskError(AutopruneError):
    """Masks, or a file that holds them, are damaged or belong to another network."""
