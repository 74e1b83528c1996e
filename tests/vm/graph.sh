#!/usr/bin/env bash
# `graph --live` beside a real systemd: both directions as systemctl prints them, and what falls with what. Runs as root in the emulated machine
# (tests/vm/run).
# shellcheck disable=SC2317,SC2329  # the functions are called by check and within
# shellcheck source=tests/vm/lib.sh
. ./lib.sh

install_program
cat > /etc/ms-supervisor/units/all.yaml << 'YAML'
unit: database
watch: {cgroup: /system.slice/database.service}
---
unit: reader
exec: sleep 86400
requires: database
---
unit: alone
exec: sleep 86401
YAML
cat > /etc/systemd/system/database.service << 'UNIT'
[Unit]
Description=Somebody else's
[Service]
ExecStart=/bin/sleep 86402
UNIT
cat > /etc/systemd/system/needs-us.service << 'UNIT'
[Unit]
Requires=ms-supervisor.service
After=ms-supervisor.service
[Service]
ExecStart=/bin/sleep 86403
UNIT
cat > /etc/systemd/system/part-of-us.service << 'UNIT'
[Unit]
PartOf=ms-supervisor.service
[Service]
ExecStart=/bin/sleep 86404
UNIT
systemctl daemon-reload
systemctl start database
check "systemctl start" systemctl start ms-supervisor
check "systemctl start, those around it" systemctl start needs-us part-of-us
# So that a target wants it.
systemctl enable ms-supervisor 2> /dev/null

# Everything but what the graph leaves out.
noise='\.slice$|^(sysinit\.target|basic\.target|shutdown\.target|systemd-journald\.socket|-\.mount)$'
# systemd_says UNIT PROPERTY: one name a line.
systemd_says() { systemctl show -P "$2" "$1" | tr ' ' '\n' | grep -v '^$' | grep -vE "$noise" | sort -u; }
edges() { msctl graph --live --json | tr -d ' \n' | sed 's/.*"edges":\[//; s/\].*//' | sed 's/},{/}\n{/g; s/\\\\/\\/g'; }
# What was asked before, where one answer is to do.
asked() { printf '%s\n' "${answer:-$(edges)}"; }
# needs UNIT KIND, needed_by UNIT KIND: the same as the graph has it.
needs() { asked | sed -n "s/.*\"from\":\"$1\",\"kind\":\"$2\",\"to\":\"\([^\"]*\)\".*/\1/p" | sort -u; }
needed_by() { asked | sed -n "s/.*\"from\":\"\([^\"]*\)\",\"kind\":\"$2\",\"to\":\"$1\".*/\1/p" | sort -u; }
same() { [ "$1" = "$2" ] || { echo "the graph: $1"; echo "systemd: $2"; return 1; }; }
both_directions() {
    local unit=$1 forth back kind answer
    answer=$(edges)
    while read -r forth back kind; do
        check "$unit $forth: $(systemd_says "$unit" "$forth" | tr '\n' ' ')" same "$(needs "$unit" "$kind")" "$(systemd_says "$unit" "$forth")"
        check "$unit $back: $(systemd_says "$unit" "$back" | tr '\n' ' ')" same "$(needed_by "$unit" "$kind")" "$(systemd_says "$unit" "$back")"
    done << 'PAIRS'
Requires RequiredBy requires
Requisite RequisiteOf requisite
Wants WantedBy wants
BindsTo BoundBy binds
PartOf ConsistsOf part_of
After Before after
PAIRS
}
graph() { msctl graph --live; }
graph
both_directions ms-supervisor.service
both_directions database.service
check "the tree runs in the service" same "$(needs root runs_in)" ms-supervisor.service
check "what is watched runs in its own" same "$(needs database runs_in)" database.service
check "systemd was asked" test -z "$(graph | grep '^systemd: ')"

# It changes with what systemd knows.
mkdir -p /etc/systemd/system/database.service.d
printf '[Unit]\nBindsTo=part-of-us.service\n' > /etc/systemd/system/database.service.d/more.conf
check "a drop-in means nothing yet" same "$(needs database.service binds)" ""
systemctl daemon-reload
has_changed() { [ "$(needs database.service binds)" = part-of-us.service ]; }
check "a drop-in is seen after daemon-reload" within 10 has_changed
both_directions database.service
rm /etc/systemd/system/database.service.d/more.conf
systemctl daemon-reload
is_back() { [ -z "$(needs database.service binds)" ]; }
check "and gone when it is gone" within 10 is_back
state_of() { graph | sed -n "s/.*[├└]── $1 \([a-z]*\).*/\1/p"; }
check "a state is shown" same "$(state_of needs-us.service)" active
systemctl stop needs-us
# systemd forgets a unit that does not run and that nobody needs.
is_down() { [ "$(state_of needs-us.service)" != active ]; }
check "a state is followed" within 10 is_down
systemctl start needs-us

# What falls, and whether it does.
falls=$(msctl graph --live --stop ms-supervisor.service)
echo "$falls"
told() { grep -qxF "$1" <<< "$falls"; }
check "who requires us stops" told "needs-us.service stops: it requires ms-supervisor.service"
check "who is part of us stops" told "part-of-us.service stops: it is part of ms-supervisor.service"
check "our units stop" told "alone stops: it runs in ms-supervisor.service"
check "who wants us goes on" told "multi-user.target goes on without: it wants ms-supervisor.service"
check "nothing is said of what is only watched" test -z "$(grep -E '^database' <<< "$falls")"
falls=$(msctl graph --live --stop database.service)
echo "$falls"
check "nothing else stops" test "$(grep -c ' stops: ' <<< "$falls")" = 1
check "what is watched stops with its service" told "database stops: it runs in database.service"
check "who requires it cannot start" told "reader runs on, but cannot start again: it requires database"
if msctl graph --live --stop no-such.service 2> /run/refused; then fail "a unit that does not exist falls"; else pass "a unit that does not exist is refused"; fi
cat /run/refused
check "with help" grep -q '^ *help: ' /run/refused
before=$(msctl status --json | tr -d ' \n' | sed 's/.*"launcher_pid":\([0-9]*\).*/\1/')
systemctl stop ms-supervisor
check "it was so: who required us is down" test "$(show ActiveState needs-us) $(show ActiveState part-of-us)" = "inactive inactive"
check "and so are our units, but not what was watched" test "$(pgrep -c -f 'sleep 8640[012]')" = 1
check "the launcher has ended" within 10 absent "/proc/$before"

# Without D-Bus the graph is whole but for that.
systemctl start ms-supervisor
mv /run/dbus/system_bus_socket /run/dbus/away
brain=$(pgrep -f "^/usr/bin/ms-supervisor brain")
kill -9 "$brain"
answers() { msctl status > /dev/null 2>&1; }
check "another brain answers" within 60 answers
says_why() { graph | grep -q '^systemd: not asked: '; }
check "it says why it does not know" within 20 says_why
graph | tail -n 2
check "the tree is there" test -n "$(graph | grep -F 'reader requires database')"
mv /run/dbus/away /run/dbus/system_bus_socket
knows() { [ -n "$(needs ms-supervisor.service after)" ]; }
check "and asks again when it can" within 20 knows

finish
