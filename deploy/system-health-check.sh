#!/bin/sh
# system-health-check.sh [RUN_DIRECTORY…]: whether each daemon is well, in the words of Nagios' plugins: a line for each that `msctl health`
# prints (with performance data), and the worst exit code: 0 ok, 1 warning, 2 critical, 3 unknown.
# Without arguments it asks the daemons that mister-smith.target wants, or, where there is no such target, the one of the machine.
# MSCTL: the program (msctl). TIMEOUT: seconds for each daemon (10).
set -u

# The run directory of a service: where its control socket is.
run_directory() {
    case $1 in
        ms-supervisor.service) echo /run/ms-supervisor ;;
        mister-smith-worker@*.service) pool=${1#*@} && echo "/run/mister-smith/worker-${pool%.service}" ;;
        mister-smith-orchestrator.service | mister-smith-messaging.service) name=${1#mister-smith-} && echo "/run/mister-smith/${name%.service}" ;;
    esac
}

if [ $# = 0 ]; then
    wanted=$(systemctl show --property=Wants --value mister-smith.target 2> /dev/null)
    for service in $wanted; do
        directory=$(run_directory "$service")
        [ -z "$directory" ] || set -- "$@" "$directory"
    done
    [ $# != 0 ] || set -- /run/ms-supervisor
fi

# 2 is worse than 3 and 3 worse than 1: what is known to be broken comes first.
worst=0
worse() {
    case $worst$1 in ?0 | 2? | 31 | 33 | 11) ;; *) worst=$1 ;; esac
}

for directory; do
    [ $# = 1 ] || printf '%s: ' "${directory##*/}"
    status=0
    MS_RUN_DIR=$directory timeout "${TIMEOUT:-10}" "${MSCTL:-msctl}" health || status=$?
    case $status in
        0 | 1 | 2 | 3) ;;
        124) echo "UNKNOWN - no answer within ${TIMEOUT:-10} s" && status=3 ;;
        *) echo "UNKNOWN - msctl health ended with $status" && status=3 ;;
    esac
    worse "$status"
done
exit "$worst"
