"""Games of a policy: evaluations, replays, videos; and the policy as a file."""
