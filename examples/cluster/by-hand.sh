#!/bin/bash
# One worker of a run, by hand. Run the same command on each machine, with the worker's own number:
#
#     examples/cluster/by-hand.sh 0 10.0.0.1:2222 10.0.0.2:2222 -- --logdir=runs/pong --pfile=pong
#     examples/cluster/by-hand.sh 1 10.0.0.1:2222 10.0.0.2:2222 -- --logdir=runs/pong --pfile=pong
#
# Worker 0 writes the folder. To resume, all get --resume, and must be able to read the folder.

set -eu

index=$1
shift
workers=
while [ "$1" != "--" ]; do
    workers="$workers${workers:+, }\"$1\""
    shift
done
shift

export TF_CONFIG="{\"cluster\": {\"worker\": [$workers]}, \"task\": {\"type\": \"worker\", \"index\": $index}}"
exec "${PYTHON:-python}" run_atari.py "$@"
