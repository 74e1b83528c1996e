#!/usr/bin/env bash
# What of the deployment only a kernel with every controller of cgroup v2 shows: that the limits of the slices are in force, who is spared
# when memory is short, and what doctor and verify-install find of it. Runs as root in the emulated machine (tests/vm/run).
# shellcheck disable=SC2016,SC2317,SC2329  # the functions are called by check and within
# shellcheck source=tests/vm/lib.sh
. ./lib.sh
install_program
cgroups=deploy/setup-mister-smith-cgroups.sh

slice() { cat "/sys/fs/cgroup/mister.slice/mister-smith.slice/$1"; }
# limits PATH MEMORY_GIB CPU_PERCENT: what the kernel says.
limits() {
    local memory cpu
    memory=$(slice "$1/memory.max") cpu=$(slice "$1/cpu.max")
    echo "  $1: memory.max $memory, memory.high $(slice "$1/memory.high"), cpu.max $cpu, pids.max $(slice "$1/pids.max")"
    [ "$memory" = $(($2 << 30)) ] && [ "$cpu" = "$(($3 * 1000)) 100000" ] && [ "$(slice "$1/memory.high")" -lt "$memory" ]
}
of_all_slices() {
    check "mister-smith.slice has 8 GiB and 800 %" limits . 8 800
    check "mister-smith-orchestrator.slice has 4 GiB and 400 %" limits mister-smith-orchestrator.slice 4 400
    check "mister-smith-workers.slice has 3 GiB and 300 %" limits mister-smith-workers.slice 3 300
    check "mister-smith-messaging.slice has 1 GiB and 100 %" limits mister-smith-messaging.slice 1 100
}
score_of() { cat "/proc/$1/oom_score_adj"; }
group_of() { sed -n 's/^0:://p' "/proc/$1/cgroup" 2> /dev/null; }
memory_max_of() { cat "/sys/fs/cgroup$(group_of "$1")/memory.max" 2> /dev/null; }
doctor() { ms-supervisor -C /etc/ms-supervisor doctor "$@"; }
verify() { ms-supervisor -C /etc/ms-supervisor verify-install "$@"; }

echo "== control groups alone"
check "set up" ran $cgroups
of_all_slices
check "again: nothing to do" says "nothing to do" $cgroups
check "--check: all is as it should be" ran $cgroups --check
echo 1G > /sys/fs/cgroup/mister.slice/mister-smith.slice/mister-smith-workers.slice/memory.max
check "a limit that somebody has changed is found" says "mister-smith-workers.slice: memory.max is 1073741824" $cgroups --check
check "undone" ran $cgroups --undo
check "the slices are gone" within 10 absent /sys/fs/cgroup/mister.slice/mister-smith.slice/mister-smith-workers.slice

echo "== doctor and verify-install"
printf 'unit: web\nexec: sleep 86400\nlimits: {memory_max: 64MiB}\n' > /etc/ms-supervisor/units/web.yaml
printf '[Slice]\nMemoryMax=1G\nCPUQuota=150%%\n' > /etc/systemd/system/mister-smith.slice
mkdir -p /etc/systemd/system/ms-supervisor{,-units}.service.d
printf '[Service]\nSlice=mister-smith.slice\n' | tee /etc/systemd/system/ms-supervisor{,-units}.service.d/50-slice.conf > /run/output
systemctl daemon-reload
check "started" systemctl enable --now ms-supervisor
check "the slice has its limits" found verify slices.limits ok
check "controllers can be used" found doctor cgroup.controllers ok
check "the launcher is spared when memory is short" test "$(score_of "$(show MainPID)")" = -900
check "a unit is not" test "$(score_of "$(pgrep -f '^sleep 86400')")" = 0
echo max > /sys/fs/cgroup/mister.slice/mister-smith.slice/memory.max
check "a limit that is not in force is found" found verify slices.limits error
systemctl stop ms-supervisor

echo "== units that survive are limited, too"
install -m 644 deploy/ms-supervisor-units.service /etc/systemd/system/
install -m 644 deploy/survivors.conf /etc/systemd/system/ms-supervisor.service.d/
systemctl daemon-reload
check "started with survivors" systemctl start ms-supervisor
unit=$(pgrep -f '^sleep 86400')
check "the unit is in the other service: $(group_of "$unit")" grep -q /ms-supervisor-units.service/ <(group_of "$unit")
check "it has its limit there" test "$(memory_max_of "$unit")" = 67108864
systemctl stop ms-supervisor ms-supervisor-units

echo "== from a shell, where nobody has delegated a cgroup"
mkdir -p /root/tree/units
printf 'unit: a\nexec: sleep 1234\nlimits: {memory_max: 64MiB}\n' > /root/tree/units/a.yaml
ms-supervisor -C /root/tree run --quiet --listen none > /run/said 2>&1 &
is_limited() { [ "$(memory_max_of "$(pgrep -f '^sleep 1234')")" = 67108864 ]; }
check "systemd makes a scope in which limits are kept" within 60 is_limited
cat /run/said
scope=$(group_of "$(pgrep -f '^sleep 1234')" | grep -o 'ms-supervisor-[0-9]*\.scope')
check "$scope is there for systemd" test "$(systemctl is-active "$scope")" = active
kill -TERM %1
wait %1
has_gone() { [ -z "$(systemctl list-units --no-legend 'ms-supervisor-*.scope')" ]; }
check "it goes with the daemon" within 20 has_gone
finish
