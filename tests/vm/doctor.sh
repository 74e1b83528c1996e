#!/usr/bin/env bash
# doctor, verify-install, health and tiers under a real systemd with every controller. Runs as root in the emulated machine (tests/vm/run).
# shellcheck disable=SC2016,SC2317,SC2329  # the functions are called by check and within
# shellcheck source=tests/vm/lib.sh
. ./lib.sh
doctor() { ms-supervisor -C /etc/ms-supervisor doctor "$@"; }
verify() { ms-supervisor -C /etc/ms-supervisor verify-install "$@"; }
ends_with() {
    local code=$1 is=0
    shift
    "$@" > /tmp/said 2>&1 || is=$?
    [ "$is" = "$code" ] || { cat /tmp/said; return 1; }
}

install_program
printf 'unit: web\nexec: sleep 86400\n' > /etc/ms-supervisor/units/web.yaml
printf '[Service]\nEnvironment=MS_TIER=tier_3\n' > /etc/systemd/system/ms-supervisor.service.d/50-tier.conf
systemctl daemon-reload

check "not started: verify-install fails" ends_with 2 verify
check "not started: health is critical" ends_with 2 ms-supervisor -C /etc/ms-supervisor health
check "what is wrong is that it does not run" found verify daemon.ready error
systemctl enable --now ms-supervisor 2> /dev/null
check "started: verify-install is content" ends_with 0 verify -v
cat /tmp/said
cp /tmp/said /tmp/verified
check "started: health is" within 10 ends_with 0 ms-supervisor -C /etc/ms-supervisor health
cat /tmp/said
check "the tier is that of the drop-in" grep -q 'tier_3 running' <(ms-supervisor -C /etc/ms-supervisor status)
check "verify-install knows it, too" grep -q "tier_3 (operational) is in force" /tmp/verified
check "plan --origin says so" grep -q 'tier  *tier_3  *\$MS_TIER' <(ms-supervisor -C /etc/ms-supervisor plan --origin daemon)
check "the program is that of the daemon" found doctor versions.daemon ok
doctor -v
printf '[Service]\nKillMode=control-group\n' > /etc/systemd/system/ms-supervisor.service.d/60-bad.conf
check "a changed file is found" found doctor service.loaded warning
systemctl daemon-reload
check "a wrong KillMode= is found" found doctor service.kill_mode warning
rm /etc/systemd/system/ms-supervisor.service.d/60-bad.conf
chmod 666 /etc/ms-supervisor/units/web.yaml
check "a declaration that anybody may change is found" found doctor files.trust error
chmod 644 /etc/ms-supervisor/units/web.yaml
systemctl daemon-reload
systemctl stop ms-supervisor

# Without root: what a user has, and lacks.
useradd -m ann
install -d -o ann /home/ann/tree/units
printf 'unit: a\nexec: sleep 1000\nnice: -5\n' > /home/ann/tree/units/a.yaml
chown -R ann: /home/ann/tree
as_ann() { runuser -u ann -- ms-supervisor -C /home/ann/tree doctor "$@"; }
check "a user may not have a niceness below 0" found as_ann units.privileges error
check "a user has no cgroup to make others in" found as_ann cgroup.delegation warning
finish
