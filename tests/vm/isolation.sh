#!/usr/bin/env bash
# What isolated units can and cannot do, and who gets to know secrets. Runs as root in the emulated machine (tests/vm/run).
# shellcheck disable=SC2317,SC2329  # the functions are called by check and within
# shellcheck source=tests/vm/lib.sh
. ./lib.sh
canary=canary-$RANDOM$RANDOM-credential
# What a unit has printed. Read from its file: a program that is started takes long here.
out() { cat "/var/log/ms-supervisor/$1.log" 2> /dev/null; }
# says UNIT LINE: whether the unit has printed it.
says() { out "$1" | grep -qxF "$2"; }
can() { check "$1: $2" within 20 says "$1" "$2"; }

install_program
useradd --system app
mkdir -p /srv/data && chown app /srv/data
echo secret > /srv/closed && chmod 644 /srv/closed
touch /tmp/of-others
# try NAME COMMAND…: prints whether the command succeeds.
cat > /usr/local/bin/look << 'SCRIPT'
#!/bin/bash
try() { local name=$1; shift; if "$@" > /dev/null 2>&1; then echo "$name yes"; else echo "$name no"; fi; }
# A file of its own: to set the time of one that is there already is no writing to Landlock.
try write_usr touch "/usr/by-unit-$$"
try write_srv touch /srv/data/by-unit
try read_closed cat /srv/closed
try write_closed sh -c 'echo x >> /srv/closed'
try see_tmp test -e /tmp/of-others
try write_tmp sh -c ': > /tmp/by-unit-$$'
try see_home test -n "$(ls -A /root 2> /dev/null)"
try raw_socket perl -e 'use Socket; socket(my $s, AF_INET, SOCK_RAW, 1) or exit 1'
try connect bash -c 'exec 3<> /dev/tcp/127.0.0.1/8001'
try namespace unshare --user true
try mount unshare --mount mount -t tmpfs none /srv/data
try setuid su -c true
echo "interfaces $(awk -F: 'NR > 2 { printf "%s", $1 }' /proc/net/dev | xargs)"
sed -n 's/^\(CapEff\|CapBnd\|NoNewPrivs\|Seccomp\|Groups\):\t*/\1 /p' /proc/self/status | sed 's/ *$//'
sed -n 's/.* \/srv .*/srv is a mount/p' /proc/self/mountinfo
echo looked
exec sleep 86400
SCRIPT
chmod 755 /usr/local/bin/look
unit() { printf 'unit: %s\nexec: look\nworking_directory: /\n%s\n' "$1" "$2" > "/etc/ms-supervisor/units/$1.yaml"; }
unit open 'user: root'
unit files 'isolation: {protect_system: strict, protect_home: true, read_write_paths: /srv/data, inaccessible_paths: /srv/closed, private_tmp: true}'
unit network 'isolation: {private_network: true}'
unit caps 'user: app
isolation: {capabilities: [CAP_NET_RAW], supplementary_groups: [adm]}'
unit nocaps 'user: app
isolation: {}'
unit calls 'isolation: {system_call_filter: default}'
# Linux 6.7 and later know of TCP.
tcp=; [ "$(printf '6.7\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.7 ] && tcp=', connect_tcp: [1]'
unit landlock "isolation: {landlock: {read: [/proc, /dev, /etc], write: [/srv/data, /dev/null], execute: [/usr, /bin, /lib, /lib64]$tcp}}"
# What secrets are told, and by what a program sees that it has them: their length alone is printed.
cat > /etc/ms-supervisor/units/told.yaml << 'YAML'
unit: told
user: app
working_directory: /
exec: [bash, -c, 'say() { echo "told $(wc -c < $CREDENTIALS_DIRECTORY/db) ${#TOKEN} $(stat -c "%%a %%U" $CREDENTIALS_DIRECTORY/db)"; }; trap say HUP; say; while :; do sleep 0.2; done']
secrets:
  db: {credential: db, on_change: {signal: SIGHUP}}
  TOKEN: {credential: db, as: environment}
isolation: {protect_system: strict}
YAML
printf %s "$canary" > /run/canary
mkdir -p /etc/keys && printf %s "$canary" > /etc/keys/db && chmod 600 /etc/keys/db
printf '[Service]\nLoadCredential=db:/etc/keys/db\n' > /etc/systemd/system/ms-supervisor.service.d/credential.conf
systemctl daemon-reload
check "the service starts" systemctl start ms-supervisor
[ "$failed" = 0 ] || finish

for unit in open files network caps nocaps calls landlock; do check "$unit: looked" within 90 says $unit looked; done
for line in 'write_usr yes' 'see_tmp yes' 'see_home yes' 'connect yes' 'read_closed yes' 'mount yes'; do can open "$line"; done
for line in 'write_usr no' 'write_srv yes' 'read_closed no' 'write_closed no' 'see_tmp no' 'write_tmp yes' 'see_home no' 'NoNewPrivs 1'; do can files "$line"; done
check "what it wrote to its /tmp is not in that of others" [ "$(find /tmp -name 'by-unit-*' -user root | wc -l)" -le 3 ]
for line in 'connect no' 'interfaces lo' 'see_tmp yes'; do can network "$line"; done
for line in 'CapEff 0000000000002000' 'CapBnd 0000000000002000' 'write_usr no' 'setuid no'; do can caps "$line"; done
for line in 'CapEff 0000000000000000' 'CapBnd 0000000000000000' 'raw_socket no'; do can nocaps "$line"; done
can caps 'raw_socket yes'
can open 'raw_socket yes'
for line in 'namespace no' 'mount no' 'Seccomp 2' 'write_srv yes'; do can calls "$line"; done
for line in 'write_usr no' 'write_srv yes' 'read_closed no' 'write_tmp no' 'see_home no'; do can landlock "$line"; done
if [ -n "$tcp" ]; then can landlock 'connect no'; else echo "SKIPPED: ports by Landlock: $(uname -r) is older than 6.7"; fi
adm=$(getent group adm | cut -d: -f3)
groups_of_caps() { out caps | grep '^Groups' | grep -qw "$adm"; }
check "caps is in the group adm" groups_of_caps
msctl status files | grep Isolation

length=${#canary}
# It is root's, and the unit's user may read it (an access control list, whose mask stat shows as the group's).
can told "told $length $length 440 root"
# Where somebody might look: files of the daemon, the journal, what it answers, command lines and environments.
# nobody_knows WHEN
nobody_knows() {
    local found
    found=$(grep -rlF "$canary" /var/lib/ms-supervisor /var/log/ms-supervisor /run/ms-supervisor 2> /dev/null | grep -v '^/run/ms-supervisor/credentials/told/')
    check "$1: no file of the daemon holds the canary ($found)" [ -z "$found" ]
    check "$1: the journal does not" sh -c "! journalctl --no-pager -o verbose | grep -qF $canary"
    local command
    for command in "status --json" "status told --json" "plan --json" "environment told --json" "events --json" "tree --json"; do
        # shellcheck disable=SC2086
        check "$1: msctl $command does not" sh -c "! msctl $command | grep -qF $canary"
    done
    # The pattern comes from a file, so as not to be found in the command line of grep itself. What has ended meanwhile has no environment any more.
    found=$(grep -alFf /run/canary /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null | while read -r file; do
        environment=$(tr "\0" "\n" 2> /dev/null < "${file%/*}/environ")
        [ -z "$environment" ] || grep -qx MS_UNIT=told <<< "$environment" || echo "$file"
    done | xargs)
    check "$1: no process but the unit has it ($found)" [ -z "$found" ]
}
nobody_knows "running"
check "it is handed over in memory" [ "$(stat -f -c %T /run/ms-supervisor/credentials/told)" = tmpfs ]
pid_of_told() { msctl status told --json | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -n 1; }
kill -SEGV "$(pid_of_told)"
twice() { [ "$(out told | grep -cxF "told $length $length 440 root")" -ge 2 ]; }
check "after a crash it is told again" within 60 twice
nobody_knows "after a crash"
brain=$(pgrep -f '^/usr/bin/ms-supervisor brain')
kill -9 "$brain"
answers() { msctl status > /dev/null 2>&1; }
check "there is another brain" within 60 answers
nobody_knows "after the brain was killed"
systemctl stop ms-supervisor
check "nothing is left of what was handed over" sh -c '! find /run/ms-supervisor/credentials -type f 2> /dev/null | grep -q .'
finish
