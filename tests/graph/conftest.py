import pytest

from tests.graph.cases import Cases, build


@pytest.fixture(scope="session")
def case() -> Cases:
    """Builds and traces a network of the table by its name."""
    return build
