"""Why a policy collapsed: the log explained, and forks with one change each."""
