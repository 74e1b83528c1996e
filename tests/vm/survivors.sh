#!/usr/bin/env bash
# Units that survive a restart of the service, sockets that systemd listens on, and what its descriptor store keeps. Runs as root in the emulated
# machine (tests/vm/run).
# shellcheck disable=SC2317,SC2329  # the functions are called by check and within
# shellcheck source=tests/vm/lib.sh
. ./lib.sh

install_program
# The launcher is to be found dead soon.
printf '[Service]\nWatchdogSec=8s\n' > /etc/systemd/system/ms-supervisor.service.d/test.conf
cat > /etc/ms-supervisor/supervisors/root.yaml << 'YAML'
supervisor: root
children: [quiet, talker]
YAML
cat > /etc/ms-supervisor/units/all.yaml << 'YAML'
unit: quiet
exec: sleep 86400
---
unit: talker
exec: [sh, -c, 'i=0; while :; do i=$((i + 1)); echo "line $i"; echo $i > /run/talker.$$; sleep 0.1; done']
logs: pipe
YAML
pid_of() { msctl status --json "$1" | grep -oE '"pid": ?[0-9]+' | head -n 1 | grep -oE '[0-9]+'; }
both() { echo "$(pid_of quiet) $(pid_of talker)"; }
up() { is StatusText "2 of 2 units active"; }
# What talker has written, as numbers; each run begins at 1.
numbers() { msctl logs -n 1000000 talker | grep -o '[0-9]*$'; }
# No line is missing, none is there twice.
whole() { numbers | awk '$1 != last + 1 && $1 != 1 {exit 1} {last = $1}'; }

# Without the drop-in a restart starts everything anew.
check "systemctl start" systemctl start ms-supervisor
before=$(both)
check "systemctl restart" systemctl restart ms-supervisor
check "it is up" within 60 up
check "units are others than before" test "$(both)" != "$before"
systemctl stop ms-supervisor
check "nothing is left" within 10 no_process 'sleep 86400'

# With it units do not notice.
install -m 644 deploy/ms-supervisor-units.service /etc/systemd/system/
install -m 644 deploy/survivors.conf /etc/systemd/system/ms-supervisor.service.d/
install -m 644 deploy/ms-supervisor.socket deploy/ms-supervisor-metrics.socket /etc/systemd/system/
systemctl daemon-reload
check "the unit files are understood" systemd-analyze verify /etc/systemd/system/ms-supervisor{,-units}.service /etc/systemd/system/ms-supervisor{,-metrics}.socket
check "systemd listens" systemctl start ms-supervisor.socket ms-supervisor-metrics.socket
check "systemctl start with survivors" systemctl start ms-supervisor
check "it is up" within 60 up
units=/sys/fs/cgroup/system.slice/ms-supervisor-units.service
check "units are in the other service" grep -q ms-supervisor-units.service "/proc/$(pid_of quiet)/cgroup"
systemctl status ms-supervisor-units --no-pager -n 0 | sed -n '1,20p' | cut -c 1-120
check "metrics come through systemd's socket" curl -sS -f -o /dev/null http://127.0.0.1:8001/metrics
before=$(both) launcher=$(show MainPID)
check "systemctl restart with survivors" systemctl restart ms-supervisor
check "it is up again" within 60 up
check "with another launcher" test "$(show MainPID)" != "$launcher"
check "and the same units: $before" test "$(both)" = "$before"
check "an event says so" test -n "$(msctl events -n 100 | grep '2 units found running')"
check "no line is lost or doubled" within 20 whole

# A launcher that stands still is killed by systemd, with all that is in its own cgroup.
launcher=$(show MainPID)
kill -STOP "$launcher"
another() { is ActiveState active && ! is MainPID "$launcher" && ! is MainPID 0 && up; }
check "a stopped launcher is replaced" within 90 another
check "the units have not noticed" test "$(both)" = "$before"
check "no line is lost or doubled" within 20 whole

# Keeper and launcher killed together: systemd has the pipes.
if is_newer 254; then
    check "systemd keeps descriptors: $(show NFileDescriptorStore)" test "$(show NFileDescriptorStore)" -ge 3
    launcher=$(show MainPID)
    talker=$(pid_of talker)
    kill -STOP "$(pgrep -f '^/usr/bin/ms-supervisor brain')"
    kill -STOP "$launcher"
    sleep 1
    kill -KILL "$talker" "$(pgrep -f '^ms-supervisor keep')" "$launcher"
    check "they are replaced" within 120 another
    begun() { [ "$(numbers | tail -n 1)" -lt "$(cat "/run/talker.$talker")" ]; }
    check "talker runs again" within 60 begun
    # The last number of the run that ended: it was still in the pipe when nobody was left who had that open.
    said=$(cat "/run/talker.$talker")
    last=$(numbers | awk '$1 == 1 {before = last} {last = $1} END {print before}')
    check "what it had in its pipe when it died is in the log: $last lines, $said said" test "$last" -ge "$said"
    check "no line is lost or doubled" whole
fi

# Somebody who comes while the service is down waits at systemd's socket.
check "systemctl stop" systemctl stop ms-supervisor
gone() { [ -z "$(pgrep -f 'sleep 86400')" ] && ! systemctl -q is-active ms-supervisor-units; }
check "units are stopped, and their service with them" within 30 gone
check "its cgroup is gone" within 10 absent "$units"
check "whoever asks starts the service" curl -sS -f --max-time 60 -o /dev/null http://127.0.0.1:8001/livez
check "it is up" within 60 up
check "the control socket is systemd's" test "$(stat -c %a /run/ms-supervisor/control.sock)" = 660
systemctl stop ms-supervisor.socket ms-supervisor-metrics.socket ms-supervisor
check "no process is left" within 10 no_process 'sleep 86400|ms-supervisor'
finish
