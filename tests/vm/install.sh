#!/usr/bin/env bash
# The Debian package and the setup scripts on a real system: what they install, that it runs, and that nothing is left. Beside it lie the package (*.deb) and a nats-server; deploy/ is there as in the repository.
# shellcheck disable=SC2016,SC2317,SC2329  # the functions are called by check and within
# shellcheck source=tests/vm/lib.sh
. ./lib.sh
package=$(echo ./*.deb)
setup=/usr/sbin/setup-mister-smith-production.sh
install -m 755 nats-server /usr/local/bin/nats-server

# snapshot NAME: every path with its kind, mode, owner and content, but for what the running system, dpkg and the tools for users write themselves.
snapshot() {
    {
        find /etc /usr /var /opt /srv -xdev \( -path /var/lib/dpkg -o -path /var/log/journal -o -path /var/cache -o -path /var/lib/systemd -o -path /var/tmp \
            -o -path /var/log/dpkg.log -o -path /var/log/wtmp -o -path /var/log/lastlog -o -path /var/log/alternatives.log \) -prune \
            -o -type f ! -path '/etc/*-' -printf '%p %y %m %U:%G %s\n' -o -printf '%p %y %m %U:%G %l\n'
        find /etc /var/lib/mister-smith* /var/lib/ms-supervisor -xdev -type f ! -path '/etc/*-' -exec sha256sum {} + 2> /dev/null
    } | sort > "/run/snapshot.$1"
}
same() {
    snapshot now
    diff "/run/snapshot.$1" /run/snapshot.now
}
# Under emulation the machine may stand still for seconds, which is a warning.
judged() { ran "$@" || [ $? = 1 ]; }
none_left() { [ -z "$(pgrep -f '^/usr/bin/ms-supervisor|nats-server')" ]; }
active() { systemctl is-active --quiet "$@"; }
pid_in() { MS_RUN_DIR=$1 msctl status --json "$2" | grep -oE '"pid": ?[0-9]+' | head -n 1 | grep -oE '[0-9]+'; }
user_of() { stat -c %U "/proc/$1"; }
published() { [ "$(cat /var/lib/mister-smith/spool/state/published 2> /dev/null || echo 0)" -ge "$1" ]; }

snapshot clean
check "dpkg -i $package" ran dpkg -i "$package"
snapshot installed
check "the program and its other name" test "$(msctl --version)" = "$(ms-supervisor --version)"
check "nothing is started, nothing is enabled" test "$(systemctl is-active ms-supervisor)$(systemctl is-enabled ms-supervisor)" = inactivedisabled
check "the users are there" id mister-smith-orchestrator mister-smith-worker mister-smith-messaging
units=$(cd /usr/lib/systemd/system && ls mister-smith* ms-supervisor.service)
# shellcheck disable=SC2086  # names, one word each
check "systemd understands the units" ran systemd-analyze verify ${units/@./@1.}

# One daemon with the whole tree.
# exposed UNIT CEILING: what systemd says of it.
exposed() {
    local score
    score=$(systemd-analyze security --no-pager "$1" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
    check "$1 is exposed by $score, at most $2" perl -e 'exit !($ARGV[0] ne "" && $ARGV[0] <= $ARGV[1])' "$score" "$2"
}
check "--dry-run" says "changes would be made" $setup --dry-run
check "setup, one daemon" ran $setup
check "the daemon is up" active ms-supervisor.service
systemctl status ms-supervisor --no-pager -n 0 | sed -n '1,14p' | cut -c 1-110
check "every unit is up" says "11 of 11 units active" msctl status
exposed ms-supervisor.service 5.0
check "it is in mister-smith.slice" test "$(show ControlGroup)" = /mister.slice/mister-smith.slice/ms-supervisor.service
check "a worker is the workers' user" test "$(user_of "$(pid_in /run/ms-supervisor worker@1)")" = mister-smith-worker
check "NATS is the messaging user" test "$(user_of "$(pid_in /run/ms-supervisor nats)")" = mister-smith-messaging
check "variables are for root and the group" test "$(stat -c '%a %U:%G' /etc/mister-smith/worker.env)" = "640 root:mister-smith"
check "jobs are done and published in NATS" within 60 published 3
check "systemctl reload" ran systemctl reload ms-supervisor
launcher=$(show MainPID) nats=$(pid_in /run/ms-supervisor nats)
check "the package again: the daemon goes over in place" ran dpkg -i "$package"
check "same launcher, same units" test "$(show MainPID) $(pid_in /run/ms-supervisor nats)" = "$launcher $nats"
check "system-health-check.sh" judged /usr/lib/mister-smith/system-health-check.sh
cat /run/output
check "as the service of the timer" ran systemctl start mister-smith-health-check.service
check "undone" ran $setup --undo --purge
check "the file system is as before" same installed
check "no process is left" within 10 no_process 'mister-smith|ms-supervisor|nats'

# A daemon for each branch.
# The least work: what runs here runs slowly.
check "setup, split" ran $setup --mode split --tier tier_1
check "again: nothing to do" says "nothing to do" $setup --mode split --tier tier_1
for name in orchestrator messaging worker@1; do
    check "mister-smith-$name is up" active "mister-smith-$name"
done
systemctl status 'mister-smith-*.service' --no-pager -n 0 | grep -E '●|Active|Status|CGroup' | cut -c 1-110
for name in orchestrator messaging worker@1; do exposed "mister-smith-$name.service" 2.2; done
group_of() { show ControlGroup "mister-smith-$1.service"; }
check "each is in its slice" test "$(group_of orchestrator) $(group_of worker@1) $(group_of messaging)" = \
    "$(printf '/mister.slice/mister-smith.slice/mister-smith-%s ' orchestrator.slice/mister-smith-orchestrator.service workers.slice/mister-smith-worker@1.service messaging.slice/mister-smith-messaging.service | sed 's/ $//')"
check "the orchestrator is a user of its own" test "$(user_of "$(show MainPID mister-smith-orchestrator)")" = mister-smith-orchestrator
check "its unit is too" test "$(user_of "$(pid_in /run/mister-smith/orchestrator planner)")" = mister-smith-orchestrator
check "each serves its metrics" ran curl -sS -f -o /dev/null http://127.0.0.1:8002/metrics http://127.0.0.1:8003/metrics http://127.0.1.1:8001/metrics
check "jobs go through all three" within 60 published 3
check "a second pool" ran systemctl start mister-smith-worker@2
check "it works beside the first" ran curl -sS -f -o /dev/null http://127.0.1.2:8001/readyz
launcher=$(show MainPID mister-smith-worker@2)
kill -9 "$launcher"
replaced() { active mister-smith-worker@2 && [ "$(show MainPID mister-smith-worker@2)" != "$launcher" ] && curl -s -f -o /dev/null http://127.0.1.2:8001/readyz; }
check "a launcher that is killed comes back" within 120 replaced
uncharged() { ! MS_RUN_DIR=/run/mister-smith/worker-2 msctl events -n 200 | grep -q 'exit unknown); restarting'; }
check "to its units that counts as no restart" uncharged
[ "$failed" = 0 ] || journalctl -u mister-smith-worker@2 --no-pager -n 60
check "reload" ran systemctl reload mister-smith-worker@2
[ "$failed" = 0 ] || journalctl -u mister-smith-worker@2 --no-pager -n 15
check "system-health-check.sh asks all" judged /usr/lib/mister-smith/system-health-check.sh
cat /run/output
if grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
    check "the limits of the slices are read back" says "everything is as it should be" /usr/share/ms-supervisor/deploy/setup-mister-smith-cgroups.sh --check
fi
check "stopping the target stops all" ran systemctl stop mister-smith.target
check "no process is left" within 120 none_left

# Away with it, with a deployment in place.
check "the target starts all" ran systemctl start mister-smith.target
check "dpkg --purge" ran dpkg --purge ms-supervisor
check "no process is left" within 10 no_process 'mister-smith|ms-supervisor|nats'
check "nothing of the package is left" same clean

# Only the control groups, from the repository.
cgroups=deploy/setup-mister-smith-cgroups.sh
check "control groups alone" ran $cgroups
check "again: nothing to do" says "nothing to do" $cgroups
check "undone" ran $cgroups --undo
check "the file system is as before" same clean

finish
