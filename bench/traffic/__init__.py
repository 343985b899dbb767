"""A benchmark of real traffic: HTTPS to a thousand names, answers that take their time, failures, uneven rates."""
