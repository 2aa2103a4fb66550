"""Hyper-parameters of every loss, as the examples of the documentation have them."""

OPTIONS = {
    "kd": {"temperature": 4.0, "gamma": 0.1, "alpha": 0.9},
    "kd_soft_only": {"temperature": 4.0},
    "rescaled": {"gamma": 0.1, "alpha": 0.9},
    "zscore": {"temperature": 2.0, "gamma": 1.0, "alpha": 9.0},
    "dkd": {"temperature": 4.0, "gamma": 1.0, "alpha": 1.0, "beta": 8.0, "warmup_epochs": 20.0},
    "dist": {"temperature": 4.0, "gamma": 1.0, "inter": 2.0, "intra": 3.0},
    "mse": {"gamma": 0.3, "alpha": 0.7},
    "rkd": {"gamma": 1.0, "distance": 25.0, "angle": 50.0},
}
