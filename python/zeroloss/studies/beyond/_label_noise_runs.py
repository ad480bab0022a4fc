"""The runs of the study of label noise: descents and flows from networks on the zero-loss set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ... import curvature, fourier, geometry
from ...datasets import Dataset
from ...dynamics import GradientDescent, NoiseFlow, NormFlow
from ...networks import Network
from ...simulation import simulate
from ...simulation.context import check_interruption
from .. import checked_run
from .._memorised import make_addition

__all__ = ["MEASURED", "descend", "follow", "follow_to", "simulate_to"]

Arrays = dict[str, NDArray[np.float64]]

#: The numbers that are measured along each way.
MEASURED: Mapping[str, str] = {
    "trace": "trace of the Hessian of the mean squared error",
    "norm_squared": "squared norm of the parameters",
    "test_accuracy": "test accuracy",
    "test_loss": "test loss",
    "strongest_share": "share of a unit's power in its strongest frequency, see zeroloss.fourier",
    "cosine_gap": "mean cosine of absolute Fourier vectors within a frequency, less that across",
    "distance": "distance in parameters from the start",
}


def make_start(
    p: int, hidden: int, activation: str, seed: int, start_steps: int, test_count: int = 7
) -> tuple[Dataset, Network]:
    """Return modular addition for a seed index, and a network that has memorised it, on the zero-loss set."""
    data, net = make_addition(p, hidden, activation, seed, test_count=test_count)
    run = simulate(GradientDescent(lr=0.5), data, net, steps=start_steps, record_every=start_steps, threads=1)
    check_interruption()
    return data, geometry.project(checked_run(run).network, data).network


def measure(net: Network, data: Dataset, start: Network) -> dict[str, float]:
    """Return the numbers of `MEASURED` at a network on the set."""
    features = fourier.summary(net.E, data)
    outputs = net(data.X_test)
    return {
        "trace": curvature.trace(net, data),
        "norm_squared": float(np.linalg.norm(net.E) ** 2 + np.linalg.norm(net.W) ** 2),
        "test_accuracy": float(np.mean(outputs.argmax(axis=1) == data.Y_test.argmax(axis=1))),
        "test_loss": float(np.mean((outputs - data.Y_test) ** 2)),
        "strongest_share": features.strongest_share,
        "cosine_gap": features.within - features.across,
        "distance": geometry.projection.distance(net, start),
    }


def descend(
    p: int,
    hidden: int,
    activation: str,
    seed: int,
    start_steps: int,
    lr: float,
    label_noise_std: float,
    batch_size: int | None,
    steps: int,
    times: int,
) -> Arrays:
    """Descend from the set, and return the numbers at ``times`` points of the set below the parameters.

    The test accuracy of the parameters themselves, off the set, is ``own_test_accuracy``.
    """
    data, start = make_start(p, hidden, activation, seed, start_steps)
    descent = GradientDescent(
        lr,
        batch_size=batch_size,
        batch_seed=seed,
        label_noise_std=label_noise_std,
        noise_seed=seed,
    )

    def on_set(net: Network) -> dict[str, float]:
        return measure(geometry.project(net, data).network, data, start)

    every = steps // times
    run = simulate(
        descent,
        data,
        start,
        steps=every * times,
        record_every=every,
        measures={"on_set": on_set},
        threads=1,
    )
    history = checked_run(run).history
    values = {name: history[f"on_set_{name}"].values for name in MEASURED}
    return {**values, "own_test_accuracy": history.test_accuracy.values}


def follow(
    flow: str,
    p: int,
    hidden: int,
    activation: str,
    seed: int,
    start_steps: int,
    rtol: float,
    duration: float,
    times: int,
) -> Arrays:
    """Follow a flow on the set, "noise flow" or "norm flow", and return the numbers at ``times`` times."""
    data, start = make_start(p, hidden, activation, seed, start_steps)
    dynamics = NoiseFlow(rtol=rtol) if flow == "noise flow" else NormFlow(rtol=rtol)
    run = simulate(dynamics, data, start, steps=0, threads=1)
    rows = [measure(start, data, start)]
    for _ in range(times):
        checked_run(run.extend(duration=duration / times))
        check_interruption()
        rows.append(measure(run.network, data, start))
    return {name: np.array([row[name] for row in rows]) for name in MEASURED}


def simulate_to(
    p: int,
    hidden: int,
    test_count: int,
    activation: str,
    start_steps: int,
    lr: float,
    label_noise_std: float,
    time: float,
    noise_seed: int,
) -> dict[str, float]:
    """Descend with label noise to a time of the flow, and return the trace on the set, and off it."""
    data, start = make_start(p, hidden, activation, 0, start_steps, test_count)
    descent = GradientDescent(lr, label_noise_std=label_noise_std, noise_seed=noise_seed)
    steps = round(time / NoiseFlow.time_per_step(descent, data))
    net = checked_run(simulate(descent, data, start, steps=steps, record_every=max(steps, 1), threads=1)).network
    return {
        "trace": curvature.trace(geometry.project(net, data).network, data),
        "own_trace": curvature.trace(net, data, part="gauss_newton"),
    }


def follow_to(p: int, hidden: int, test_count: int, activation: str, start_steps: int, time: float) -> dict[str, float]:
    """Follow the flow of label noise to a time, and return the traces at both ends and the sharpness at the start."""
    data, start = make_start(p, hidden, activation, 0, start_steps, test_count)
    run = checked_run(simulate(NoiseFlow(rtol=1e-7), data, start, duration=time, threads=1))
    return {
        "trace": curvature.trace(run.network, data),
        "first_trace": curvature.trace(start, data),
        "sharpness": curvature.sharpness(start, data),
    }
