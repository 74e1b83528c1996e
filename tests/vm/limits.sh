#!/usr/bin/env bash
# Limits under a real systemd with every controller of cgroup v2. Runs as root in the emulated machine (tests/vm/run).
# shellcheck disable=SC2317,SC2329  # the functions are called by check and within
# shellcheck source=tests/vm/lib.sh
. ./lib.sh
install_program

group() { echo /sys/fs/cgroup/system.slice/ms-supervisor.service/ms-supervisor-*/"$1"; }
# in_group PATH: the only directory that fits.
in_group() { for at in $(group "$1"); do [ -d "$at" ] && echo "$at" && return; done; echo /nowhere; }
reads() { [ "$(cat "$(in_group "$1")/$2")" = "$3" ]; }
pid_of() { msctl status --json "$1" | sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' | head -n 1; }
# Read from its file: a program that is started takes long here.
events() { grep "\"$1\"" /var/lib/ms-supervisor/events.jsonl | grep "${2:-}"; }
has_event() { [ -n "$(events "$@")" ]; }
count_events() { events "$@" | wc -l; }
is_active() { msctl status --json "$1" | grep -q '"state": "active"'; }
line() { printf '   %s\n' "$*"; }

device=$(cat /sys/class/block/nvme0n1/dev)
# A disk of 400 reads a second, whatever the emulated one can do: what io_weight divides (Documentation/admin-guide/cgroup-v2.rst, "IO").
echo "$device ctrl=user model=linear rbps=4194304 rseqiops=400 rrandiops=400 wbps=67108864 wseqiops=8000 wrandiops=8000" > /sys/fs/cgroup/io.cost.model
echo "$device enable=1 ctrl=user rpct=0 rlat=0 wpct=0 wlat=0 min=100 max=100" > /sys/fs/cgroup/io.cost.qos

cat > /etc/ms-supervisor/supervisors/all.yaml << 'YAML'
supervisor: outer
limits: {memory_max: 256MiB, tasks_max: 200}
children: [inner, plain]
---
supervisor: inner
limits: {cpu_max: 80%, memory_high: 200MiB}
children: [leaf]
---
supervisor: squeezed
limits: {memory_high: 32MiB, adjust: {memory_high: {floor: 24MiB, ceiling: 64MiB}, pressure: 5%, cool_down: 10s}}
children: [presser]
---
supervisor: rest
intensity: 1000
children: [fifth, more, pinned, bomb, neighbour, heavy, thrash, hog, worker, tolerant, together, pressed, writer, set, light]
limits: {memory_max: 1GiB}
YAML
cat > /etc/ms-supervisor/units/all.yaml << 'YAML'
unit: leaf
exec: sleep 86400
limits: {memory_min: 8MiB, memory_low: 16MiB, memory_high: 48MiB, memory_max: 64MiB, memory_swap_max: 0, cpu_weight: 300, cpu_max: 25%, tasks_max: 9, oom_policy: group}
---
unit: plain
exec: sleep 86400
---
unit: fifth
exec: [perl, -e, '1 while 1']
limits: {cpu_max: 20%}
---
unit: more
exec: [perl, -e, '1 while 1']
limits: {cpu_max: 60%}
---
unit: pinned
exec: [perl, -e, 'sleep 86400']
limits: {cpuset: 1}
cpu_affinity: 0-1
---
unit: bomb
exec: [sh, -c, 'sleep 86400']
limits: {tasks_max: 64}
---
unit: neighbour
exec: sleep 86400
---
unit: heavy
exec: [sh, -c, "until [ -e /run/read ]; do sleep 1; done; while :; do dd if=/dev/nvme0n1 of=/dev/null bs=4k iflag=direct 2> /dev/null; done"]
limits: {io_weight: 300}
---
unit: light
exec: [sh, -c, "until [ -e /run/read ]; do sleep 1; done; while :; do dd if=/dev/nvme0n1 of=/dev/null bs=4k iflag=direct 2> /dev/null; done"]
limits: {io_weight: 100}
---
unit: thrash
exec: [perl, -e, 'while (1) { sleep 1 until -e "/run/thrash"; my $x; vec($x, (32 << 20) - 1, 8) = 1;
    while (-e "/run/thrash") { for (my $i = 0; $i < length $x; $i += 4096) { substr($x, $i, 1) = "y" } } }']
limits: {memory_max: 16MiB}
---
unit: hog
exec: [perl, -e, 'sleep 1 until -e "/run/eat"; unlink "/run/eat"; my $x = ""; $x .= "x" x (1 << 20) while 1']
limits: {memory_max: 64MiB}
restart: {backoff: none, on: {oom: 1s}}
---
unit: worker
exec: [sh, -c, "sleep 86400 & perl -e 'sleep 1 until -e \"/run/work\"; unlink \"/run/work\"; my $x = \"\"; $x .= \"x\" x (1 << 20) while 1'; sleep 86400"]
limits: {memory_max: 64MiB}
---
unit: tolerant
exec: [sh, -c, "perl -e 'sleep 1 until -e \"/run/tolerate\"; unlink \"/run/tolerate\"; my $x = \"\"; $x .= \"x\" x (1 << 20) while 1'; exec sleep 86400"]
limits: {memory_max: 64MiB, oom_policy: continue}
---
unit: together
exec: [sh, -c, "sleep 86400 & perl -e 'sleep 1 until -e \"/run/together\"; unlink \"/run/together\"; my $x = \"\"; $x .= \"x\" x (1 << 20) while 1'; exec sleep 86400"]
limits: {memory_max: 64MiB, oom_policy: group}
restart: {backoff: none, on: {oom: 1s}}
---
unit: pressed
exec: [perl, -e, 'sub hold { vec($_[0], ($_[1] << 20) - 1, 8) = 1 } sleep 1 until -e "/run/press"; hold(my $x, 44);
    while (-e "/run/press") { hold(my $y, 2); undef $y; select undef, undef, undef, 0.02 } undef $x; sleep 86400']
limits: {memory_high: 32MiB, adjust: {memory_high: {floor: 24MiB, ceiling: 64MiB}, pressure: 5%, cool_down: 10s}}
probes: [{name: waits, role: observe, period: 1s, failure_threshold: 1, resources: {memory_pressure: 5%}, remediation: {steps: [{run: [note], user: root}], mode: enforce}}]
---
unit: presser
exec: [perl, -e, 'sub hold { vec($_[0], ($_[1] << 20) - 1, 8) = 1 } sleep 1 until -e "/run/press"; hold(my $x, 40);
    while (-e "/run/press") { hold(my $y, 2); undef $y; select undef, undef, undef, 0.02 } undef $x; sleep 86400']
---
unit: writer
exec: [sh, -c, "until [ -e /run/write ]; do sleep 1; done; while :; do dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=128 oflag=direct 2> /dev/null; done"]
limits: {io_max: {/dev/nvme0n1: {wbps: 1MiB}}}
---
unit: set
exec: [sh, -c, 'sleep 86400 & exec sleep 86401']
nice: 5
scheduler: batch
io_priority: 6
cpu_affinity: 1
rlimits: {nofile: "512:1024", core: 0}
oom_score_adj: 321
YAML
systemctl daemon-reload
check "systemctl start" systemctl start ms-supervisor
check "it is said that the service itself is guaranteed nothing, and nothing else" test "$(msctl status | grep -c '^limits:')" = 1
msctl status | grep '^limits:'

echo "== each is read back"
leaf=outer:supervisor/inner:supervisor/leaf:1
for pair in "memory.min 8388608" "memory.low 16777216" "memory.high 50331648" "memory.max 67108864" "memory.oom.group 1" \
    "cpu.weight 300" "cpu.max 25000 100000" "pids.max 9"; do
    check "leaf: $pair" reads $leaf "${pair%% *}" "${pair#* }"
done
check "inner: cpu.max 80000 100000" reads outer:supervisor/inner:supervisor cpu.max "80000 100000"
check "inner: memory.high" reads outer:supervisor/inner:supervisor memory.high 209715200
check "outer: memory.max" reads outer:supervisor memory.max 268435456
check "outer: pids.max" reads outer:supervisor pids.max 200
check "outer guarantees what is guaranteed below it" reads outer:supervisor memory.min 8388608
check "the root does, too" reads . memory.min 8388608
check "a unit without limits is in its supervisor's cgroup" test -d "$(in_group outer:supervisor/plain:1)"
check "heavy: io.weight" reads rest:supervisor/heavy:1 io.weight "default 300"
check "writer: io.max" reads rest:supervisor/writer:1 io.max "$device rbps=max wbps=1048576 riops=max wiops=max"
check "daemon's own processes are in a leaf" grep -q '/ms-supervisor.service/ms-supervisor$' "/proc/$(show MainPID)/cgroup"
allowed() { sed -n 's/^Cpus_allowed_list:\t//p' "/proc/$1/status"; }
check "pinned may run on 1 only: $(allowed "$(pid_of pinned)")" test "$(allowed "$(pid_of pinned)")" = 1
msctl status leaf | sed -n '/Memory/p;/CPU/p;/Tasks/p'

echo "== set before exec"
pid=$(pid_of set)
check "nice, policy, I/O priority" test "$(cut -d ' ' -f 19,41 "/proc/$pid/stat")" = "5 3"
check "affinity $(allowed "$pid")" test "$(allowed "$pid")" = 1
check "oom_score_adj" test "$(cat "/proc/$pid/oom_score_adj")" = 321
limits_of() { grep -E "$1" "/proc/$pid/limits" | tr -s ' '; }
check "rlimits" test "$(limits_of 'open files')$(limits_of 'core file')" = "Max open files 512 1024 files Max core file size 0 0 bytes "

echo "== cpu_max by what a unit gets"
used() { sed -n 's/^usage_usec //p' "$(in_group "$1")/cpu.stat"; }
# The emulated machine has two processors and does not get all the time there is: what a unit may is what it gets at most.
at=${EPOCHREALTIME/[.,]/} f=$(used rest:supervisor/fifth:1) m=$(used rest:supervisor/more:1)
sleep 10
f=$(($(used rest:supervisor/fifth:1) - f)) m=$(($(used rest:supervisor/more:1) - m)) t=$((${EPOCHREALTIME/[.,]/} - at))
line "of $((t / 1000)) ms: with 20 % it gets $((f * 100 / t)) %, with 60 % it gets $((m * 100 / t)) %"
check "who may have a fifth of a processor gets that at most" test $((f * 100 / t)) -le 24
check "who may have more gets more, and no more than that" test $((m * 100 / f)) -ge 150 -a $((m * 100 / t)) -le 66
check "what is not given is counted" test "$(sed -n 's/^throttled_usec //p' "$(in_group rest:supervisor/fifth:1)/cpu.stat")" -gt 1000000
msctl stop fifth more > /dev/null

echo "== live: same process, other limits"
before=$(pid_of leaf) nested=$(pid_of plain) setpid=$(pid_of set)
sed -i 's/memory_max: 64MiB, memory_swap_max/memory_max: 96MiB, memory_swap_max/; s/cpu_max: 25%, tasks_max: 9/cpu_max: 30%/; s/^nice: 5/nice: 7/;
    s/^scheduler: batch/scheduler: other/; s/^io_priority: 6/io_priority: idle/; s/^cpu_affinity: 1$/cpu_affinity: 0/; s/nofile: "512:1024"/nofile: 700/; s/: 321/: 123/' \
    /etc/ms-supervisor/units/all.yaml
sed -i 's/memory_max: 256MiB/memory_max: 300MiB/' /etc/ms-supervisor/supervisors/all.yaml
msctl reload
check "leaf: memory.max" within 10 reads "$leaf" memory.max 100663296
check "leaf: cpu.max" within 10 reads $leaf cpu.max "30000 100000"
check "leaf: pids.max" within 10 reads $leaf pids.max max
check "outer: memory.max" within 10 reads outer:supervisor memory.max 314572800
check "no process was replaced" test "$(pid_of leaf) $(pid_of plain) $(pid_of set)" = "$before $nested $setpid"
check "LimitsChanged of leaf" within 10 has_event LimitsChanged '"leaf"'
pid=$setpid
is_set() { [ "$(cut -d ' ' -f 19,41 "/proc/$1/stat") $(allowed "$1") $(cat "/proc/$1/oom_score_adj")" = "7 0 0 123" ]; }
check "set: niceness, policy, affinity, oom_score_adj" within 10 is_set "$pid"
check "of its child as well" within 10 is_set "$(pgrep -P "$pid")"
is_limited() { [ "$(limits_of 'open files')" = "Max open files 700 700 files " ]; }
check "rlimits" within 10 is_limited
check "nothing was refused" test "$(count_events LimitRefused)" = 0
echo max > "$(in_group $leaf)/memory.max"
check "what somebody else changes is set again" within 40 reads "$leaf" memory.max 100663296
check "and told" within 10 has_event LimitDrifted '"leaf"'

echo "== moved to another supervisor"
sed -i 's/children: \[inner, plain\]/children: [inner]/; s/heavy, /heavy, plain, /' /etc/ms-supervisor/supervisors/all.yaml
msctl reload > /dev/null
has_moved_over() { grep -qs '/rest:supervisor/plain:' "/proc/$(pid_of plain)/cgroup"; }
check "it is in its cgroup then" within 20 has_moved_over

echo "== memory_max"
# alarms: how often the kernel has said something by itself. That the brain looks once a second anyway is not counted.
alarms() { curl -s http://127.0.0.1:8001/metrics | sed -n 's/^ms_limit_alarms_total //p'; }
first=$(pid_of hog) alarms=$(alarms)
touch /run/eat
check "OOM is told" within 60 has_event OomKilled '"hog"'
line "alarms: $alarms before, $(alarms) after"
check "the kernel has said so by itself" test "$(alarms)" -gt "$alarms"
line "$(msctl events 2> /dev/null | grep 'hog  *| out of memory' | tail -n 1)"
check "with the victim" has_event OomKilled '"name":"perl"'
check "its process id" has_event OomKilled "\"pid\":$first"
check "and that its own limit was reached" has_event OomKilled '"short":"unit"'
replaced() { is_active "$1" && [ "$(pid_of "$1")" != "$2" ]; }
check "it was started again" within 30 replaced hog "$first"
msctl status hog | sed -n '/Last exit/p;/Memory/p'
worker=$(pid_of worker)
touch /run/work
check "a child is killed: the rest of the unit is ended, too" within 60 replaced worker "$worker"
line "$(msctl events 2> /dev/null | grep 'worker.*out of memory' | head -n 1)"
check "one incident of it" test "$(count_events OomKilled '"worker"')" = 1

echo "== who waits for memory below its limit"
{ mkswap /dev/nvme0n1 && swapon /dev/nvme0n1; } > /dev/null 2>&1
touch /run/thrash
check "MemoryPressure is told" within 120 has_event MemoryPressure '"thrash"'
check "it was told once" test "$(count_events MemoryPressure '"thrash"')" = 1
line "$(msctl events 2> /dev/null | grep 'thrash.*waits for memory' | tail -n 1)"
check "nothing of it was killed" test "$(count_events OomKilled '"thrash"')" = 0
rm /run/thrash
check "that is over" within 60 has_event LimitCleared '"memory_pressure"'
msctl stop thrash > /dev/null
swapoff /dev/nvme0n1

echo "== oom_policy: continue, group"
tolerant=$(pid_of tolerant)
touch /run/tolerate
check "continue: the kill is told" within 60 has_event OomKilled '"tolerant"'
is_asleep() { grep -q sleep "/proc/$1/comm"; }
check "continue: the unit goes on with the same main process" within 30 is_asleep "$tolerant"
check "continue: it was not ended" test "$(count_events UnitExited '"tolerant"')" = 0
together=$(pid_of together)
touch /run/together
check "group: the kill is told" within 60 has_event OomKilled '"together"'
check "group: all of it was killed and it was started again" within 30 replaced together "$together"
line "$(msctl events 2> /dev/null | grep 'together.*out of memory' | head -n 1)"
check "group: more than one process was killed" test "$(events OomKilled '"together"' | sed -n 's/.*"count":\([0-9]*\).*/\1/p' | head -n 1)" -ge 2

echo "== metrics"
curl -s http://127.0.0.1:8001/metrics > /run/page
for series in 'ms_unit_limit{unit="leaf",limit="memory_max"} 100663296' 'ms_unit_limit{unit="leaf",limit="cpu_max"} 0.3' 'ms_unit_oom_kills_total{unit="hog"} 1'; do
    check "$series" grep -qF "$series" /run/page
done
grep -E '^ms_unit_cgroup_[a-z_]+\{unit="leaf"' /run/page

echo "== limits that follow the pressure"
mkdir -p /etc/ms-supervisor/scripts
printf '#!/bin/sh\ncat > /run/noted\n' > /etc/ms-supervisor/scripts/note
chmod 755 /etc/ms-supervisor/scripts/note
pressed=$(pid_of pressed) place=rest:supervisor/pressed:1
touch /run/press
# It was lowered before, when it was as calm as that.
raised() { [ "$(cat "$(in_group "$1")/memory.high")" -gt 33554432 ]; }
# Until it is calm it may be raised further.
lowered() {
    local now
    now=$(cat "$(in_group "$place")/memory.high")
    [ "$now" -le "$raised_to" ] || raised_to=$now
    [ "$now" -lt "$raised_to" ]
}
check "memory_high is raised while it waits for memory" within 90 raised "$place"
check "what was measured is told" within 10 has_event LimitAdjusted '"pressure"'
check "that of a supervisor, too" within 90 raised squeezed:supervisor
check "which is told" within 10 has_event LimitAdjusted squeezed
check "the probe has found it, and its remedy was taken" within 60 test -s /run/noted
msctl events 2> /dev/null | grep 'pressed.*\(probe waits\|note\)' | head -n 4 | sed 's/^/   /'
msctl status pressed | sed -n '/Memory/p'
check "status tells what is declared" eval "msctl status pressed | grep -q 'adjusted, declared 32.0 MiB'"
check "nobody else has changed it" test "$(count_events LimitDrifted '"pressed"')" = 0
raised_to=$(cat "$(in_group $place)/memory.high") brain=$(msctl status --json | sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' | head -n 1)
answers() { msctl status > /dev/null 2>&1; }
kill -9 "$brain"
check "the next brain answers" within 30 answers
shown() { msctl status pressed | grep -q 'adjusted, declared'; }
check "the next brain has found it there" within 30 shown
check "and has not put it back" test "$(cat "$(in_group $place)/memory.high")" -ge "$raised_to"
rm /run/press
raised_to=$(cat "$(in_group $place)/memory.high")
check "memory_high is lowered once it is calm" within 300 lowered
check "the same process all the time" test "$(pid_of pressed)" = "$pressed"
msctl events 2> /dev/null | grep 'pressed.*memory_high \(raised\|lowered\)' | sed 's/^/   /'
check "it is counted" eval "curl -s http://127.0.0.1:8001/metrics | grep -q 'ms_unit_limit_adjustments_total{unit=\"pressed\",limit=\"memory_high\"}'"
sed -i 's/, adjust: {memory_high: {floor: 24MiB, ceiling: 64MiB}, pressure: 5%, cool_down: 10s}//' /etc/ms-supervisor/units/all.yaml
msctl reload
check "without adjust it is as declared" within 20 reads $place memory.high 33554432

echo "== supervisors"
msctl status rest | sed -n '1,/^UNIT/p'
check "status tells what a supervisor uses and may" eval "msctl status rest | grep -q 'max 1024.0 MiB\|max 1.0 GiB'"
check "the page tells it, too" eval "curl -s http://127.0.0.1:8001/metrics | grep -q '^ms_supervisor_limit{supervisor=\"rest\",limit=\"memory_max\"} 1073741824'"
curl -s http://127.0.0.1:8001/metrics | grep '^ms_supervisor_cgroup_[a-z_]*{supervisor="rest"'

echo "== io_weight and io_max by what a unit gets"
# moved UNIT WHAT: how many bytes it has read (rbytes) or written (wbytes).
moved() { sed -n "s/^$device .*\b$2=\([0-9]*\).*/\1/p" "$(in_group "rest:supervisor/$1:1")/io.stat"; }
has_moved() { [ "$(moved "$1" "$2")" -gt 0 ] 2> /dev/null; }
touch /run/read
check "heavy reads" within 30 has_moved heavy rbytes
check "light reads" within 30 has_moved light rbytes
heavy=$(moved heavy rbytes) light=$(moved light rbytes)
sleep 15
heavy=$(($(moved heavy rbytes) - heavy)) light=$(($(moved light rbytes) - light))
line "weight 300 against 100: $((heavy / 15000)) and $((light / 15000)) kB/s, $((heavy * 100 / light)) %"
check "it reads about three times as much" test $((heavy * 100 / light)) -ge 150 -a $((heavy * 100 / light)) -le 600
msctl stop heavy light > /dev/null
rate() {
    local at=${EPOCHREALTIME/[.,]/} bytes
    bytes=$(moved writer wbytes)
    sleep 8
    echo $((($(moved writer wbytes) - bytes) * 1000 / (${EPOCHREALTIME/[.,]/} - at)))
}
touch /run/write
check "writer writes" within 30 has_moved writer wbytes
rate=$(rate)
line "with 1 MiB/s: $rate kB/s"
check "no more than it may" test "$rate" -gt 100 -a "$rate" -le 1300
sed -i 's/wbps: 1MiB/wbps: 4MiB/' /etc/ms-supervisor/units/all.yaml
msctl reload > /dev/null
check "io.max is changed" within 10 reads rest:supervisor/writer:1 io.max "$device rbps=max wbps=4194304 riops=max wiops=max"
rate=$(rate)
line "with 4 MiB/s: $rate kB/s"
check "with more it writes more" test "$rate" -gt 1300 -a "$rate" -le 5000
msctl stop writer > /dev/null

echo "== a fork bomb beside a neighbour"
# latency: of forty starts of a program, in the cgroup of the neighbour: mean and worst in microseconds.
cat > /run/latency << 'SCRIPT'
echo $$ > "$1/cgroup.procs"
sum=0 worst=0
for _ in {1..40}; do
    at=${EPOCHREALTIME/[.,]/}
    /bin/true
    took=$((${EPOCHREALTIME/[.,]/} - at)) sum=$((sum + took)) worst=$((took > worst ? took : worst))
done
echo "$((sum / 40)) $worst"
SCRIPT
latency() { bash /run/latency "$(in_group rest:supervisor/neighbour:1)"; }
before=$(latency)
sed -i "s/^exec: \[sh, -c, 'sleep 86400'\]/exec: [perl, -e, '\$SIG{CHLD} = \"IGNORE\"; while (1) { fork }']/" /etc/ms-supervisor/units/all.yaml
msctl reload > /dev/null
check "the limit is reached" within 60 has_event TasksMaxReached '"bomb"'
during=$(latency)
line "starts of a program, mean and worst: before ${before/ / us, } us; during ${during/ / us, } us"
sleep 5
line "forks refused: $(sed -n 's/^max //p' "$(in_group 'rest:supervisor/bomb:*')/pids.events"), tasks: $(cat "$(in_group 'rest:supervisor/bomb:*')/pids.current")"
check "it was told once" test "$(count_events TasksMaxReached '"bomb"')" = 1
check "at most 64 tasks" test "$(cat "$(in_group 'rest:supervisor/bomb:*')/pids.current")" -le 64
check "the neighbour starts programs: worst $((${during#* } / 1000)) ms" test "${during#* }" -lt 3000000
answers() { msctl status > /dev/null 2>&1; }
check "the daemon answers" answers
check "the bomb can be stopped" msctl stop bomb
check "the episode is over" within 40 has_event LimitCleared '"bomb"'

echo "== without a brain, and with the next one"
leafpid=$(pid_of leaf)
brain=$(msctl status --json | sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' | head -n 1)
check "the brain is killed" kill -9 "$brain"
check "the next brain answers" within 30 answers
adopted() { [ "$(pid_of leaf)" = "$leafpid" ] && reads "$leaf" memory.max 100663296; }
check "leaf runs on, limited as before" within 30 adopted

echo "== stop"
at=$(dirname "$(in_group rest:supervisor)")
check "systemctl stop" systemctl stop ms-supervisor
check "no cgroup is left" within 10 absent "$at"
finish
