"""A progress bar on stderr for a profile: layer, how many of how many, time left."""

from rich.markup import escape

from autoprune.cli.bar import Bar


class LayerProgress(Bar):
    """Shows a profile as it runs; use it as a context manager around the profile."""

    def on_layer(self, title: str, done: int, total: int) -> None:
        """A layer is about to be measured; with as many done as there are, the last is."""
        if done == 0:
            self.begin("measuring", total)
        self.count(done, escape(title) if self.wide else "")
