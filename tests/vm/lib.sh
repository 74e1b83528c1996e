# shellcheck shell=bash disable=SC2317,SC2329  # the functions are called by check and within
# What the tests in the emulated machine (tests/vm/run) share. To be sourced; ends the test with `finish`.
set -uo pipefail
failed=0
# With the seconds since the test began.
fail() { echo "FAILED: $* [$SECONDS s]"; failed=1; }
pass() { echo "ok: $* [$SECONDS s]"; }
# check WHAT COMMAND…: whether the command succeeds.
check() {
    local what=$1
    shift
    if "$@"; then pass "$what"; else fail "$what"; fi
}
# within SECONDS COMMAND…: until the command succeeds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}
absent() { [ ! -e "$1" ]; }
no_process() { ! pgrep -f "$1" > /dev/null; }
show() { systemctl show -P "$1" "${2:-ms-supervisor}"; }
is() { [ "$(show "$1")" = "$2" ]; }
# Like the command; what it has printed is shown if it fails.
ran() {
    local status=0
    "$@" > /run/output 2>&1 || status=$?
    [ "$status" = 0 ] || cat /run/output
    return "$status"
}
# says TEXT COMMAND…: whether the command prints it.
says() { "${@:2}" > /run/output 2>&1; grep -q -- "$1" /run/output || { cat /run/output; return 1; }; }
# found COMMAND CHECK SEVERITY: whether doctor or verify-install finds that of one thing.
found() {
    local said
    said=$("$1" --json 2> /dev/null | tr -d '\n')
    [[ $said =~ \"check\":\ \"$2\",\ *\"severity\":\ \"$3\" ]]
}

# Puts the program and the shipped unit files in their places, as deploy/README.md says, with empty declarations.
install_program() {
    install -m 755 ms-supervisor /usr/bin/ms-supervisor
    ln -sf ms-supervisor /usr/bin/msctl
    install -m 644 deploy/ms-supervisor.service /etc/systemd/system/
    mkdir -p /etc/ms-supervisor/{supervisors,units} /etc/systemd/system/ms-supervisor.service.d
    if is_newer 253; then install -m 644 deploy/notify-reload.conf /etc/systemd/system/ms-supervisor.service.d/; fi
}
# is_newer VERSION: whether systemd is of that version or a later one.
is_newer() { [ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -ge "$1" ]; }

# The end: shows what the service said if something failed.
finish() {
    [ "$failed" = 0 ] || journalctl -u ms-supervisor --no-pager -n 60
    exit "$failed"
}
