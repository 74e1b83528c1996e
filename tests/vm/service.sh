#!/usr/bin/env bash
# The shipped service under a real systemd. Runs as root in the emulated machine (tests/vm/run), beside the binary and the unit file.
# shellcheck disable=SC2317,SC2329  # the functions are called by check and within
# shellcheck source=tests/vm/lib.sh
. ./lib.sh
pid_of() { cat "/run/$1.pid"; }
# Every unit runs its script under its own name, so that processes can be counted.
runs_once() { [ "$(pgrep -c -f "^/bin/sh /etc/ms-supervisor/unit.sh $1\$")" = 1 ]; }
all_run_once() { runs_once first && runs_once second && runs_once third; }

install_program
# The shipped patience with the launcher is 60 s; a test has less.
printf '[Service]\nWatchdogSec=8s\n' > /etc/systemd/system/ms-supervisor.service.d/test.conf
cat > /etc/ms-supervisor/unit.sh << 'SCRIPT'
#!/bin/sh
# Ready after some time; ends when asked, after noting that it was.
echo $$ > "/run/$1.pid"
trap 'echo "$1" >> /run/order; exit 0' TERM
(setsid sleep 86400 &)
sleep 1.5
echo "$1 is ready"
while :; do sleep 0.2; done
SCRIPT
cat > /etc/ms-supervisor/supervisors/root.yaml << 'YAML'
supervisor: root
strategy: rest_for_one
children: [first, second, third, scribe]
YAML
for unit in first second third; do
    printf 'unit: %s\nexec: /bin/sh /etc/ms-supervisor/unit.sh %s\nreadiness: {log: is ready, timeout: 1min}\n' $unit $unit \
        > "/etc/ms-supervisor/units/$unit.yaml"
done
cat > /etc/ms-supervisor/units/scribe.yaml << 'YAML'
unit: scribe
exec: [sh, -c, 'echo "a line"; echo "<3>a serious line" >&2; head -c 300000 /dev/zero | tr "\0" x; echo; exec sleep 86400']
logs: journald
YAML
check "the unit file is understood" systemd-analyze verify /etc/systemd/system/ms-supervisor.service
systemctl daemon-reload

# Start: returns when the tree is up.
begin=$(date +%s%N)
check "systemctl start" systemctl start ms-supervisor
took=$((($(date +%s%N) - begin) / 1000000))
check "it returned when every unit was ready, after $took ms" test "$took" -ge 4500
check "the service is active" is ActiveState active
check "every unit runs" all_run_once
check "status: $(show StatusText)" within 5 is StatusText "4 of 4 units active"
systemctl status ms-supervisor --no-pager -n 0 | sed -n '1,12p' | cut -c 1-120
check "msctl finds it" msctl status
# What a unit writes to the journal, with its fields.
entries() { journalctl --no-pager -o json MS_UNIT=scribe MS_RUN=1 "$@"; }
has_entries() { [ "$(entries | wc -l)" -ge 9 ]; }
check "scribe's lines are in the journal" within 20 has_entries
check "with priority and identifier" test "$(entries PRIORITY=3 SYSLOG_IDENTIFIER=scribe -o cat)" = "a serious line"
check "a line without a prefix is informational" test "$(entries PRIORITY=6 -o cat | head -n 1)" = "a line"
check "long lines come in pieces, whole" test "$(entries -o cat | grep -E '^x+$' | tr -d '\n' | wc -c)" = 300000
# What happened, with its fields.
told() { [ -n "$(journalctl --no-pager -o cat SYSLOG_IDENTIFIER=ms-supervisor "$@")" ]; }
check "events are in the journal" within 20 told MS_EVENT=DaemonReady PRIORITY=5
check "and can be searched by unit" told MS_EVENT=UnitActive MS_UNIT=third
journalctl --no-pager -o cat SYSLOG_IDENTIFIER=ms-supervisor MS_UNIT=third | head -n 3
if is_newer 254; then
    check "systemd keeps descriptors of units: $(show NFileDescriptorStore)" test "$(show NFileDescriptorStore)" -ge 5
fi
check "it says that it is ready" curl -sS -f -o /dev/null http://127.0.0.1:8001/readyz

# Watchdog: signs of life keep it running; a launcher that says nothing is replaced.
launcher=$(show MainPID)
sleep 15
check "it is alive after 15 s under a watchdog of 8 s" is MainPID "$launcher"
kill -STOP "$launcher"
launcher_was_replaced() { is ActiveState active && ! is MainPID "$launcher" && ! is MainPID 0; }
check "a stopped launcher is killed and started again" within 90 launcher_was_replaced
check "systemd says why: $(show NRestarts) restart" is NRestarts 1
check "every unit runs once" within 30 all_run_once

# A brain that hangs is the launcher's to replace; systemd, the launcher and the units notice nothing.
brain_of() { pgrep -f "^/usr/bin/ms-supervisor brain"; }
launcher=$(show MainPID) brain=$(brain_of) first=$(pid_of first)
kill -STOP "$brain"
# What systemd shows may still be what the one before has said; the new one answers once it is up.
brain_was_replaced() { [ -n "$(brain_of)" ] && [ "$(brain_of)" != "$brain" ] && msctl status > /dev/null 2>&1 && is StatusText "4 of 4 units active"; }
check "a stopped brain is replaced by the launcher" within 120 brain_was_replaced
check "the launcher and the units are as before" test "$(show MainPID) $(show NRestarts) $(pid_of first)" = "$launcher 1 $first"

# Reload: what changed is applied, the rest is left alone; a faulty file changes nothing.
launcher=$(show MainPID)
first=$(pid_of first) second=$(pid_of second) third=$(pid_of third)
echo 'environment: {CHANGED: "yes"}' >> /etc/ms-supervisor/units/third.yaml
check "systemctl reload" systemctl reload ms-supervisor
third_has_changed() { grep -qz '^CHANGED=yes$' "/proc/$(pid_of third)/environ" 2> /dev/null; }
check "the change is applied" within 30 third_has_changed
check "third was restarted" test "$(pid_of third)" != "$third"
check "first and second were left alone" test "$(pid_of first) $(pid_of second)" = "$first $second"
check "the tree is up again" within 30 is StatusText "4 of 4 units active"
third=$(pid_of third)
echo 'no_such_key: 1' >> /etc/ms-supervisor/units/third.yaml
if systemctl reload ms-supervisor; then fail "a reload with a faulty file succeeds"; else pass "a reload with a faulty file fails"; fi
check "the service is active all the same" is ActiveState active
if is_newer 253; then
    check "status says so: $(show StatusText)" within 10 is StatusText "4 of 4 units active, the declarations have a fault and were not applied"
fi
said_so() { journalctl -u ms-supervisor --no-pager | grep -q 'no_such_key'; }
check "the journal says what is wrong" within 10 said_so
check "nothing was touched" test "$(show MainPID) $(pid_of first) $(pid_of second) $(pid_of third)" = "$launcher $first $second $third"

# Stop: in reverse order, with nothing left.
group=/sys/fs/cgroup$(show ControlGroup)
rm -f /run/order
begin=$(date +%s%N)
check "systemctl stop" systemctl stop ms-supervisor
echo "it took $((($(date +%s%N) - begin) / 1000000)) ms"
check "in reverse order: $(tr '\n' ' ' < /run/order)" test "$(tr '\n' ' ' < /run/order)" = "third second first "
check "the service is inactive, not failed" is ActiveState inactive
check "its control group is gone" within 10 absent "$group"
check "no process is left" within 10 no_process 'unit.sh|sleep 86400|ms-supervisor'

# Faulty declarations: the start fails at once and is not tried again.
if systemctl start ms-supervisor; then fail "it starts with a faulty file"; else pass "it does not start with a faulty file"; fi
check "its exit code is 2" is ExecMainStatus 2
sleep 3
check "systemd does not try again" is ActiveState failed
check "nothing was started" no_process unit.sh

finish
