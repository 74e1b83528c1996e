#!/usr/bin/env bash
# setup-mister-smith-production.sh [OPTION…]: makes this machine a node of Mister Smith: users, directories, declarations, variables,
# systemd units, limits. Run again it changes nothing; with another --tier it changes what differs.
#
#   --mode node|split  one daemon with the whole tree (node, the default), or one for each branch of it (split)
#   --tier TIER        tier_1 experimental, tier_2 validation, tier_3 operational (the default)
#   --binary FILE      put this program at /usr/bin/ms-supervisor; without it the package's is expected there
#   --no-start         start nothing
#   --root DIR         for the system below DIR, which does not run
#   --dry-run          say what would be done; exit code 0
#   --check            say what is not as it should be; exit code 1 if there is something
#   --undo             stop the services, take away what was made here and put back what was replaced
#   --purge            with --undo: data and logs of the services as well
#   --force            replace, or with --undo remove, files that were changed since they were made
#
# If a step fails, what this run has done is taken back. What was made is recorded in /var/lib/mister-smith-setup.
# Exit codes: 0 done, 1 failed or different, 2 usage.
# shellcheck source-path=SCRIPTDIR
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
name=production
. "$here/setup-lib.sh"
# In the repository the small programs of the tree stand beside those of the demonstration.
if [ -d "$here/../units/bin" ]; then demonstration=$here/../units/bin; else demonstration=$here/bin; fi

mode='' tier='' binary='' start=1
while [ $# -gt 0 ]; do
    case $1 in
        --mode | --tier | --binary | --root)
            [ $# -ge 2 ] || usage_error "$1 wants a value"
            declare "${1#--}=$2"
            shift
            ;;
        --no-start) start='' ;;
        --dry-run) doing=dry-run ;;
        --check) doing=check ;;
        --undo) undoing=1 ;;
        --purge) purge=1 ;;
        --force) force=1 ;;
        -h | --help) sed -n '2,18p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
        *) usage_error "there is no option $1" ;;
    esac
    shift
done
case $mode in '' | node | split) ;; *) usage_error "--mode is node or split, not $mode" ;; esac
case $tier in '' | tier_1 | tier_2 | tier_3) ;; *) usage_error "--tier is tier_1, tier_2 or tier_3, not $tier" ;; esac
root=${root%/}
[ -z "$root" ] || [ -d "$root" ] || die "$root is not a directory"

# source_of NAME: a file of the layout.
source_of() {
    local place
    for place in "$here/$1" "$here/mister-smith/$1" "$demonstration/${1#bin/}"; do
        [ ! -f "$place" ] || { printf %s "$place"; return 0; }
    done
    printf %s "$here/$1"
}

# rows KIND…: of the layout, those of this mode, with the tier filled in.
rows() { sed "s/@TIER@/$tier/g" "$here/mister-smith/layout" | awk -v mode="$mode" -v kinds=" $* " '($1 == "all" || $1 == mode) && index(kinds, " " $2 " ")'; }

# What a package brings is the package's to change; without a package it is ours to bring.
vendor() {
    local bits owner group what path
    while read -r _ _ bits owner group what path; do
        if [ -e "$root$path" ] && [ -z "${kind[$path]+x}" ]; then continue; fi
        ensure_file "$(source_of "$what")" "$path" "$bits" "$owner" "$group"
    done < <(rows vendor)
    if [ -n "$binary" ]; then
        ensure_file "$binary" /usr/bin/ms-supervisor 0755 root root
        ensure_link ms-supervisor /usr/bin/msctl
    fi
}

configure() {
    local what bits owner group source path
    while read -r _ what bits owner group source path; do
        case $what in
            dir) ensure_dir "$path" "$bits" "$owner" "$group" ;;
            file) ensure_file "$(source_of "$source")" "$path" "$bits" "$owner" "$group" ;;
            link) ensure_link "$source" "$path" ;;
        esac
    done < <(rows dir file link)
}

# Only known variables with values that make sense: a typing error in one would otherwise be found by a unit, at night.
check_variables() {
    local file variable pattern line number faults=0 known
    for file in "$root"/etc/mister-smith/*.env; do
        [ -r "$file" ] || continue
        known=$(awk -v name="$(basename "$file" .env)" '$1 == name {print $2 "\t" $3}' "$here/mister-smith/env/keys")
        number=0
        while IFS= read -r line || [ -n "$line" ]; do
            number=$((number + 1))
            case $line in '' | '#'*) continue ;; esac
            variable=${line%%=*}
            pattern=$(awk -F '\t' -v name="$variable" '$1 == name {print $2}' <<< "$known")
            if [ -z "$pattern" ]; then
                note "${file#"$root"}:$number: there is no variable $variable; known are $(cut -f 1 <<< "$known" | paste -sd ' ')"
                faults=1
            elif ! grep -qxE "$pattern" <<< "${line#*=}"; then
                note "${file#"$root"}:$number: $variable must match $pattern"
                faults=1
            fi
        done < "$file"
    done
    return "$faults"
}

# What was written must make sense to those who read it.
validate() {
    local program=${root}/usr/bin/ms-supervisor directory directories=("$root/etc/mister-smith/tree")
    check_variables || die "the variables are wrong"
    [ -x "$program" ] || die "cannot check the declarations: /usr/bin/ms-supervisor is missing; install the package, or give --binary"
    if [ "$mode" = split ]; then directories+=("$root"/etc/mister-smith/{orchestrator,worker,messaging}); fi
    for directory in "${directories[@]}"; do
        "$program" check "$directory" > /dev/null || die "the declarations in ${directory#"$root"} are wrong"
    done
    if is_live; then
        # shellcheck disable=SC2046  # names, one word each
        systemd-analyze verify mister-smith.target $(services) 2> "$state/verify" || { cat "$state/verify" >&2; die "systemd does not understand the units"; }
        rm -f "$state/verify"
    fi
}

services() {
    if [ "$mode" = node ]; then echo ms-supervisor.service; else echo mister-smith-{orchestrator,messaging,worker@1}.service; fi
    echo mister-smith-health-check.timer
}

# The mode and the tier of the run before are those of this one, if nothing else is said.
choose() {
    local before
    before=${kind[mode]+${detail[mode]}}
    if [ -n "$before" ] && [ -n "$mode" ] && [ "$mode" != "$before" ]; then
        die "this is a $before deployment; --undo it before it becomes a $mode one"
    fi
    mode=${mode:-${before:-node}}
    tier=${tier:-${kind[tier]+${detail[tier]}}}
    tier=${tier:-tier_3}
}

data_of_mode() {
    data=({/var/lib,/var/log}/mister-smith)
    if [ "$mode" = node ]; then data+=({/var/lib,/var/log}/ms-supervisor); fi
}

open_state
if [ -n "${undoing:-}" ]; then
    [ "$doing" = apply ] || usage_error "--undo goes with neither --check nor --dry-run"
    if is_live && [ -f "$state/manifest" ]; then
        choose
        # shellcheck disable=SC2046  # names, one word each
        systemctl stop mister-smith.target $(services) 'mister-smith-worker@*.service' mister-smith-health-check.service 2> /dev/null || true
    fi
    choose
    data_of_mode
    status=0
    undo || status=$?
    if is_live; then
        systemctl daemon-reload
        systemctl reset-failed 'mister-smith*' 2> /dev/null || true
        # The services leave it for their successors, and there will be none.
        [ "$status" != 0 ] || rm -rf /run/mister-smith
    fi
    exit "$status"
fi

choose
data_of_mode
begin
note_data
vendor
conf=$root/usr/lib/sysusers.d/mister-smith.conf
[ -f "$conf" ] || conf=$here/sysusers.d/mister-smith.conf
ensure_users "$conf"
conf=$root/usr/lib/tmpfiles.d/mister-smith.conf
[ -f "$conf" ] || conf=$here/tmpfiles.d/mister-smith.conf
ensure_tmpfiles "$conf"
configure
if [ "$doing" = apply ]; then
    validate
    remember mode mode "$mode"
    remember tier tier "$tier"
    if is_live; then
        systemctl daemon-reload
        if [ -n "$start" ]; then
            # shellcheck disable=SC2046  # names, one word each
            if [ "$changes" = 0 ]; then systemctl start mister-smith.target; else systemctl restart mister-smith.target $(services); fi
        fi
    fi
elif [ "$doing" = check ]; then
    check_variables || true
    if is_live && [ "$changes" = 0 ]; then
        for service in $(services); do
            systemctl is-active --quiet "$service" || note "$service is $(systemctl is-active "$service"): systemctl status $service"
        done
    fi
fi
commit
report
