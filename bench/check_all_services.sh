#!/bin/bash
# check_all_services.sh: the health check of the sites' old plan, which
# keepalived was to run on every head: for each service one call of its client
# program, as an administrator would write it. Exit 0 means that this head may
# hold the virtual address. The agent is measured against it (run.sh verdict).
#
# Kept cheap on purpose: no pipes, no second call, output read by the shell.

state=$(gluster --mode=script volume status shared_data) || exit 1
[[ $state == *"Brick "* ]] || exit 1

state=$(mysql -NBe "SHOW STATUS LIKE 'wsrep_ready'") || exit 1
[[ $state == *ON ]] || exit 1

state=$(redis-cli ping) || exit 1
[[ $state == PONG ]] || exit 1

state=$(scontrol ping) || exit 1
[[ $state == *"is UP"* ]] || exit 1

curl --silent --fail --max-time 5 --output /dev/null http://localhost:4430/health || exit 1
