"""Write scikit-learn's 1 797 pictures of digits for digits.toml: 64 grey levels in [0, 1], one-hot targets."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.data))
X, Y = digits.data[order] / 16, np.eye(10)[digits.target[order]]
np.savez(Path(__file__).parent / "digits.npz", X_train=X[:1000], Y_train=Y[:1000], X_test=X[1000:], Y_test=Y[1000:])
