"""How many mutants do the tests kill? Score of each file, and every survivor: `make mutants`.

Reads the results that mutmut leaves in mutants/. A mutant is one small change of a function; it is
killed if a test fails or hangs. ``python -m mutmut show NAME`` prints a mutant anew.
"""

import sys
from collections import Counter, defaultdict

from ppo.system import children

KILLED = {"killed", "timeout", "segfault"}


def mutmut(*arguments: str) -> str:
    """What a command of mutmut prints."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return children.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Print every survivor as a patch, then the scores."""
    states: dict[str, Counter] = defaultdict(Counter)
    for line in mutmut("results", "--all", "true").splitlines():
        name, state = line.strip().split(": ")
        file = name.rpartition(".")[0]
        states[file][state] += 1
        if state not in KILLED:
            print(mutmut("show", name))
    for file, counts in states.items():
        killed, all_mutants = sum(counts[state] for state in KILLED), counts.total()
        others = ", ".join(f"{n} {state}" for state, n in counts.items() if state != "killed")
        print(f"{file:16} {killed / all_mutants:4.0%}, {killed} of {all_mutants}: {others}")


if __name__ == "__main__":
    main()
