"""Games of a policy: evaluations, replays, videos."""
