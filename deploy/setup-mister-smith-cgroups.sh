#!/usr/bin/env bash
# setup-mister-smith-cgroups.sh [OPTION…]: gives Mister Smith its control groups: the slices of systemd with their limits, and nothing else.
# It says what this machine lacks for that. setup-mister-smith-production.sh brings the slices as well; this is for a machine whose
# services are somebody else's matter.
#
#   --no-start  start no slice; the limits hold once something runs in it
#   --root DIR  for the system below DIR, which does not run
#   --dry-run   say what would be done; exit code 0
#   --check     say what is not as it should be, in files and in the running system; exit code 1 if there is something
#   --undo      take away what was made here and put back what was replaced
#   --force     replace, or with --undo remove, files that were changed since they were made
#
# If a step fails, what this run has done is taken back. What was made is recorded in /var/lib/mister-smith-setup.
# Exit codes: 0 done, 1 failed or different, 2 usage.
# shellcheck source-path=SCRIPTDIR
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
name=cgroups
. "$here/setup-lib.sh"

start=1
while [ $# -gt 0 ]; do
    case $1 in
        --root)
            [ $# -ge 2 ] || usage_error "$1 wants a value"
            root=$2
            shift
            ;;
        --no-start) start='' ;;
        --dry-run) doing=dry-run ;;
        --check) doing=check ;;
        --undo) undoing=1 ;;
        --force) force=1 ;;
        -h | --help) sed -n '2,15p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
        *) usage_error "there is no option $1" ;;
    esac
    shift
done
root=${root%/}
[ -z "$root" ] || [ -d "$root" ] || die "$root is not a directory"

names() { basename -a "$here"/systemd/*.slice; }

mount=/sys/fs/cgroup
has_controller() { grep -qsw "$1" "$mount/cgroup.controllers"; }

# What the kernel and systemd must have for the limits to mean anything.
look_at_host() {
    local controller
    if [ ! -f "$mount/cgroup.controllers" ]; then
        note "there is no cgroup v2 at $mount: limits have no effect; boot with systemd.unified_cgroup_hierarchy=1"
        return 0
    fi
    for controller in memory cpu pids io; do
        has_controller "$controller" || note "the kernel has no controller $controller: its limits have no effect"
    done
    [ -e /proc/pressure/memory ] || note "the kernel tells no pressure: boot with psi=1"
}

# value SLICE KEY: what the unit file says.
value() { sed -n "s/^$2=//p" "$here/systemd/$1"; }
# Where systemd puts a slice: mister-smith-workers.slice lies in mister-smith.slice, and that in mister.slice.
group_of() {
    local part path='' prefix=''
    for part in $(tr - ' ' <<< "${1%.slice}"); do
        prefix=${prefix:+$prefix-}$part
        path=$path/$prefix.slice
    done
    printf '%s%s' "$mount" "$path"
}
# compare SLICE FILE EXPECTED. What the kernel lacks altogether has been said.
compare() {
    local found
    has_controller "${2%%.*}" || return 0
    found=$(cat "$(group_of "$1")/$2" 2> /dev/null) || found="missing"
    [ "$found" = "$3" ] || note "$1: $2 is $found and not $3"
}
# The limits, read back from the kernel.
look_at_limits() {
    local slice gib percent
    for slice in $(names); do
        if [ ! -d "$(group_of "$slice")" ]; then
            note "$slice is not there: systemctl start $slice"
            continue
        fi
        gib=$(value "$slice" MemoryMax) percent=$(value "$slice" CPUQuota)
        compare "$slice" memory.max $((${gib%G} << 30))
        compare "$slice" cpu.max "$((${percent%\%} * 1000)) 100000"
        compare "$slice" pids.max "$(value "$slice" TasksMax)"
    done
}

open_state
if [ -n "${undoing:-}" ]; then
    [ "$doing" = apply ] || usage_error "--undo goes with neither --check nor --dry-run"
    status=0
    undo || status=$?
    if is_live; then
        systemctl daemon-reload
        # A slice that holds nothing and has no file any more is gone; one that holds services stays, without limits.
        # shellcheck disable=SC2046  # names, one word each
        systemctl stop $(for slice in $(names); do [ -e "/usr/lib/systemd/system/$slice" ] || echo "$slice"; done) 2> /dev/null || true
    fi
    exit "$status"
fi

begin
[ -n "$root" ] || look_at_host
for slice in $(names); do
    # The package's are the package's.
    path=/usr/lib/systemd/system/$slice
    if [ -e "$root$path" ] && [ -z "${kind[$path]+x}" ]; then continue; fi
    ensure_file "$here/systemd/$slice" "/etc/systemd/system/$slice" 0644 root root
done
if is_live && [ "$doing" = apply ]; then
    systemctl daemon-reload
    if [ -n "$start" ]; then
        # shellcheck disable=SC2046  # names, one word each
        systemctl start $(names)
        look_at_limits
    fi
elif is_live && [ "$doing" = check ]; then
    look_at_limits
fi
commit
report
