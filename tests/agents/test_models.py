"""The models of candidates against slow plain formulas."""

import numpy as np
import pytest

from autoprune.agents.models import ProcessModel, fit_weights, losses_of
from tests.agents.problem import Hidden, make_task


def candidates(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    task, rng = make_task(), np.random.default_rng(seed)
    vectors = task.clip(task.from_ratio(rng.uniform(0.2, 1, (count, len(task.names)))))
    hidden = Hidden(task)
    return vectors, np.array([-hidden(task.widths(v)).score for v in vectors])


def test_weights_are_found_where_the_model_is_true() -> None:
    rng = np.random.default_rng(0)
    errors, weights = rng.uniform(0, 1, (200, 5)), np.array([0.1, 0.5, 1.0, 2.0, 4.0])
    assert np.allclose(fit_weights(errors, errors @ weights, ridge=1e-9), weights, rtol=1e-5)


def test_one_candidate_gives_equal_weights() -> None:
    weights = fit_weights(np.array([[0.1, 0.3, 0.2]]), np.array([1.2]))
    assert np.allclose(weights, 2.0)


def test_few_candidates_of_many_groups_are_believed_less() -> None:
    """Twelve candidates cannot tell 40 weights: what they seem to say is worse than equal weights."""
    rng = np.random.default_rng(0)
    truth = 10.0 ** rng.uniform(-0.3, 0.3, 40)
    gains = []
    for _ in range(20):
        known, new = rng.uniform(0.5, 1, (12, 40)), rng.uniform(0.5, 1, (300, 40))
        losses = known @ truth * np.exp(0.05 * rng.standard_normal(12))

        def skill(weights: np.ndarray, new: np.ndarray = new) -> float:
            return float(np.corrcoef(new @ weights, new @ truth)[0, 1])

        gains.append([skill(fit_weights(known, losses)), skill(fit_weights(known, losses, ridge=1e-3))])
    few, sure = np.mean(gains, axis=0)
    assert few > sure + 0.02
    many = rng.uniform(0.5, 1, (4000, 40))
    assert np.allclose(fit_weights(many, many @ truth), truth, rtol=0.05)


def test_weights_are_positive() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert (fit_weights(rng.random((6, 4)), rng.random(6)) > 0).all()
    assert (fit_weights(np.zeros((3, 4)), np.ones(3)) > 0).all()


@pytest.mark.parametrize("rewards", [[-2.0, -0.5, -1.0], [0.2, 0.9, 0.4], [-1.0, 1.0, 0.0], [0.5, 0.5, 0.5]])
def test_losses_are_positive_and_in_opposite_order(rewards: list[float]) -> None:
    losses = losses_of(np.array(rewards))
    assert (losses > 0).all()
    assert (np.argsort(losses, kind="stable") == np.argsort(-np.array(rewards), kind="stable")).all()


def test_the_process_against_dense_formulas() -> None:
    vectors, losses = candidates(30)
    task = make_task()
    model = ProcessModel(task, vectors, losses)
    at, _ = candidates(7, seed=1)
    mean, deviation = model(at)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        length, bump, _ = model._values(model._fit.indices)
        result = np.empty((len(a), len(b)))
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                r = np.sqrt(5) * np.linalg.norm(x - y) / length
                result[i, j] = x @ y / len(x) + bump * (1 + r + r * r / 3) * np.exp(-r) + 1
        return model._variance * result

    errors = task.errors(vectors)
    scale = errors.std(0).mean()
    x, z = (errors - errors.mean(0)) / scale, (task.errors(at) - errors.mean(0)) / scale
    noise = model._variance * model._values(model._fit.indices)[2]
    gram = kernel(x, x) + noise * np.eye(len(x))
    weight = losses.mean() / errors.sum(1).mean()
    prior = np.log(weight * errors.sum(1))
    rest = np.log(losses) - prior
    offset = np.median(rest)
    expected = (
        np.log(weight * task.errors(at).sum(1))
        + offset
        + kernel(z, x) @ np.linalg.inv(gram) @ (rest - offset)
    )
    spread = np.diag(kernel(z, z) - kernel(z, x) @ np.linalg.inv(gram) @ kernel(x, z))
    assert np.allclose(mean, expected, atol=1e-6)
    assert np.allclose(deviation, np.sqrt(spread), atol=1e-6)


def test_the_process_predicts_better_than_the_mean_and_knows_where_it_was() -> None:
    vectors, losses = candidates(60)
    model = ProcessModel(make_task(), vectors, losses)
    at, truth = candidates(100, seed=1)
    mean, deviation = model(at)
    assert ((mean - np.log(truth)) ** 2).mean() < 0.2 * np.log(truth).var()
    assert model(vectors)[1].mean() < deviation.mean()


def test_equal_candidates_do_no_harm() -> None:
    vectors, losses = candidates(1)
    model = ProcessModel(make_task(), np.repeat(vectors, 5, axis=0), np.repeat(losses, 5))
    mean, _ = model(vectors)
    assert np.allclose(mean, np.log(losses))
