"""Row-wise RMSprop against its formula in double precision."""

import numpy as np
import torch

from recsys_dist.families.autorec.training.rowwise_rmsprop import rowwise_rmsprop_

GROUP = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}


def test_steps_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    expected_CH, expected_C = rng.normal(size=(5, 7)), np.zeros(5)
    parameter_CH, mean_square_C = torch.from_numpy(expected_CH).float(), torch.zeros(5)
    start_CH = parameter_CH.clone()
    for step in range(1, 21):
        # Columns whose gradients differ by orders of magnitude, and one that no rating reaches.
        gradient_CH = rng.normal(size=(5, 7)) * np.array([0.0, 1e-6, 1e-3, 1.0, 1e3])[:, None]
        whole_CH = gradient_CH + 0.1 * expected_CH
        expected_C = 0.99 * expected_C + 0.01 * (whole_CH**2).mean(1)
        root_C = np.sqrt(expected_C / (1 - 0.99**step)) + 1e-8
        expected_CH = expected_CH - 0.01 * whole_CH / root_C[:, None]
        rowwise_rmsprop_(
            parameter_CH, torch.from_numpy(gradient_CH).float(), torch.tensor(step), GROUP, mean_square_C
        )
    np.testing.assert_allclose(parameter_CH.numpy(), expected_CH, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean_square_C.numpy(), expected_C, rtol=1e-4)
    # Every column moves as fast, however large its gradients.
    moved_C = (parameter_CH - start_CH).square().mean(1).sqrt()
    assert moved_C.max() < 10 * moved_C.min()


def test_a_column_without_gradient_or_penalty_stays() -> None:
    parameter_CH, mean_square_C = torch.ones(2, 3), torch.zeros(2)
    gradient_CH = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    rowwise_rmsprop_(parameter_CH, gradient_CH, torch.tensor(1), {**GROUP, "weight_decay": 0.0}, mean_square_C)
    assert torch.equal(parameter_CH[0], torch.ones(3))
    torch.testing.assert_close(parameter_CH[1], torch.full((3,), 0.99))
