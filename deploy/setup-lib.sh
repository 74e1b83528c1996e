# shellcheck shell=bash
# What the setup scripts share; to be sourced. It makes files, directories, links and users so that a second run changes nothing, a failed
# run leaves nothing, and --undo takes away what was made and nothing else.
#
# Below STATE ($root/var/lib/mister-smith-setup/NAME):
#   manifest  what was made, one line each: KIND PATH DETAIL, in the order it was made
#   saved/    what was there before and was replaced
#   journal   only while a run goes on: how to take back each step. A run that finds one takes back what a killed run had begun.
#
# The script that sources this sets `name` (of its state directory) and says what is to be there by ensure_…; `$doing` is apply, check or dry-run.

set -euo pipefail
export LC_ALL=C
umask 022

name=${name:?} root='' doing=apply force='' purge='' changes=0 notes=0
declare -A kind=() detail=() saved=() told=() ids=()
order=()

say() { printf '%s\n' "$*"; }
note() { notes=$((notes + 1)); printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit "${code:-1}"; }
usage_error() { code=2 die "$* (--help tells what there is)"; }
sum() { sha256sum < "$1" | cut -d ' ' -f 1; }
is_live() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

# id_of passwd|group NAME: the number of a user or group below $root, in $REPLY.
id_of() {
    local database who number
    if [ ${#ids[@]} = 0 ]; then
        for database in passwd group; do
            [ -r "$root/etc/$database" ] || continue
            while IFS=: read -r who _ number _; do ids[$database:$who]=$number; done < "$root/etc/$database"
        done
        ids[.]=
    fi
    REPLY=${ids[$1:$2]:-}
    [ -n "$REPLY" ]
}

open_state() {
    state=$root/var/lib/mister-smith-setup/$name
    [ "$(id -u)" = 0 ] || [ "$doing" != apply ] || die "this changes the system and needs root; --check and --dry-run do not"
    if [ "$doing" = apply ]; then
        made_state=
        [ -d "$state" ] || made_state=1
        mkdir -p "$state/saved"
        exec 9> "$state/lock"
        flock -n 9 || die "another run is under way ($state/lock is held)"
        if [ -s "$state/journal" ]; then
            note "a run before this one was cut off; taking back what it had begun"
            take_back
        fi
    fi
    read_manifest
}

read_manifest() {
    local what path more
    kind=() detail=() saved=() order=()
    [ -f "$state/manifest" ] || return 0
    while IFS=$'\t' read -r what path more; do
        case $what in
            saved) saved[$path]=$more ;;
            *) remember "$what" "$path" "$more" ;;
        esac
    done < "$state/manifest"
}

remember() {
    [ -n "${kind[$2]+x}" ] || order+=("$2")
    kind[$2]=$1 detail[$2]=${3:-}
}

write_manifest() {
    local path
    for path in ${order[@]+"${order[@]}"}; do
        printf '%s\t%s\t%s\n' "${kind[$path]}" "$path" "${detail[$path]}"
        [ -z "${saved[$path]+x}" ] || printf 'saved\t%s\t%s\n' "$path" "${saved[$path]}"
    done > "$state/manifest.new"
    mv "$state/manifest.new" "$state/manifest"
}

# How to take back the next step, on disk before it is done.
journal() { printf '%s\t' "$@" >> "$state/journal"; printf '\n' >> "$state/journal"; }

take_back() {
    local what path more
    while IFS=$'\t' read -r what path more _; do
        case $what in
            new) rm -f "$path" "$path.setup-new" ;;
            old) rm -f "$path.setup-new" && mv -f "$more" "$path" ;;
            dir) rmdir "$path" 2> /dev/null || true ;;
            user | group) drop_account "$what" "$path" || note "cannot remove $what $path" ;;
        esac
    done < <(tac "$state/journal")
    rm -f "$state/journal"
}

# A step that fails, or a signal, ends in here: nothing of this run stays.
rollback() {
    local status=$?
    trap - EXIT
    if [ "$doing" = apply ] && [ -s "$state/journal" ]; then
        note "failed; taking back what this run did"
        take_back
        ! is_live || systemctl daemon-reload || true
        [ -f "$state/manifest" ] || forget_state
    elif [ -n "${made_state:-}" ] && [ ! -f "$state/manifest" ]; then
        forget_state
    fi
    exit "$status"
}
forget_state() {
    rm -rf "$state"
    rmdir "$root/var/lib/mister-smith-setup" 2> /dev/null || true
}
begin() {
    trap rollback EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}
commit() {
    if [ "$doing" = apply ]; then
        write_manifest
        find "$state/saved" -name '*.before' -delete
        rm -f "$state/journal"
    fi
    trap - EXIT INT TERM HUP
}

# change TEXT: counts and tells a change. True if it is to be made.
change() {
    changes=$((changes + 1))
    case $doing in
        apply) say "$1" ;;
        dry-run) say "would: $1" ;;
        check) say "differs: $1" ;;
    esac
    [ "$doing" = apply ]
}

# ensure_dir PATH MODE OWNER GROUP: a directory that is there already is left as it is, unless it was made here.
ensure_dir() {
    local path=$root$1
    if [ ! -d "$path" ]; then
        # What a check does not make it tells once.
        [ -z "${told[$1]+x}" ] || return 0
        told[$1]=1
        ensure_parents "$1"
        change "make $1/" || return 0
        journal dir "$path"
        mkdir "$path"
        remember dir "$1"
        set_owner "$path" "$2" "$3" "$4"
    fi
    ensure_owner "$1" "$2" "$3" "$4"
}

# In a check as another user, or for a group that is still to be made, there is nothing to compare with.
ensure_owner() {
    local path=$root$1 uid gid
    [ -e "$path" ] && [ -n "${kind[$1]+x}" ] || return 0
    id_of passwd "$3" || return 0
    uid=$REPLY
    id_of group "$4" || return 0
    gid=$REPLY
    if [ "$(stat -c '%u:%g:%a' "$path")" != "$uid:$gid:${2#0}" ]; then
        change "set $1 to $2 $3:$4" || return 0
        set_owner "$path" "$2" "$3" "$4"
    fi
}
set_owner() {
    local uid gid
    id_of passwd "$3" || die "cannot make $1: there is no user $3"
    uid=$REPLY
    id_of group "$4" || die "cannot make $1: there is no group $4"
    gid=$REPLY
    chown "$uid:$gid" "$1"
    chmod "$2" "$1"
}

# ensure_parents PATH: the directories above.
ensure_parents() {
    local parent=${1%/*}
    [ -n "$parent" ] || return 0
    [ -d "$root$parent" ] && return 0
    ensure_parents "$parent"
    ensure_dir "$parent" 0755 root root
}

# ensure_file SOURCE PATH MODE OWNER GROUP: what somebody has changed since it was made here is left alone, unless --force is given.
ensure_file() {
    local source=$1 path=$root$2 now='' new
    [ -f "$source" ] || die "cannot make $2: $source is missing"
    if cmp -s "$source" "$path"; then
        ensure_owner "$2" "$3" "$4" "$5"
        return 0
    fi
    new=$(sum "$source")
    if [ -f "$path" ] && [ -r "$path" ]; then now=$(sum "$path"); fi
    if [ -n "$now" ] && [ "${kind[$2]:-}" = file ] && [ "${detail[$2]}" != "$now" ] && [ -z "$force" ]; then
        # No fault: variables and declarations are there to be changed.
        say "kept: $2 was changed since it was made; --force replaces it"
        return 0
    fi
    ensure_parents "$2"
    if [ -z "$now" ] && [ ! -e "$path" ] && [ ! -L "$path" ]; then change "make $2" || return 0; else change "replace $2" || return 0; fi
    replace "$2"
    install -m 600 "$source" "$path.setup-new"
    set_owner "$path.setup-new" "$3" "$4" "$5"
    mv -f "$path.setup-new" "$path"
    remember file "$2" "$new"
}

# ensure_link TARGET PATH
ensure_link() {
    local path=$root$2
    [ "$(readlink "$path" 2> /dev/null)" = "$1" ] && return 0
    ensure_parents "$2"
    change "link $2 to $1" || return 0
    replace "$2"
    ln -sfn "$1" "$path"
    remember link "$2" "$1"
}

# replace PATH: keeps what is there. What was not made here is put back by --undo; what was, only if this run fails.
replace() {
    local path=$root$1 copy
    if [ ! -e "$path" ] && [ ! -L "$path" ]; then
        journal new "$path"
        return 0
    fi
    copy=$state/saved/$(printf %s "$1" | sha256sum | cut -c 1-16)
    [ ! -d "$path" ] || [ -L "$path" ] || die "cannot make $1: a directory is in the way"
    cp -a "$path" "$copy.before"
    journal old "$path" "$copy.before"
    if [ -z "${kind[$1]+x}" ]; then
        cp -a "$path" "$copy"
        saved[$1]=$copy
    fi
}

# ensure_users CONF: what a sysusers.d file declares. The files the tools keep beside the databases are put back by --undo as well.
ensure_users() {
    local conf=$1 what who missing=() before
    while read -r what who _; do
        case $what in
            u)
                # It comes with a group of its name; the tools that remove it take that along on some systems only.
                id_of group "$who" || missing+=("group $who")
                id_of passwd "$who" || missing+=("user $who")
                ;;
            g) id_of group "$who" || missing+=("group $who") ;;
        esac
    done < "$conf"
    [ ${#missing[@]} != 0 ] || return 0
    for what in "${missing[@]}"; do change "add $what" || true; done
    [ "$doing" = apply ] || return 0
    command -v systemd-sysusers > /dev/null || die "cannot add users: systemd-sysusers is missing"
    for before in passwd- group- shadow- gshadow- .pwd.lock; do
        [ -n "${kind[/etc/$before]+x}" ] || keep_beside "/etc/$before"
    done
    for what in "${missing[@]}"; do
        journal "${what%% *}" "${what#* }"
    done
    systemd-sysusers ${root:+--root="$root"} "$conf" 2> "$state/sysusers" || { cat "$state/sysusers" >&2; die "cannot add users"; }
    rm -f "$state/sysusers"
    ids=()
    for what in "${missing[@]}"; do remember "${what%% *}" "$what" "${what#* }"; done
}
keep_beside() {
    replace "$1"
    remember beside "$1"
}
# drop_account user|group NAME
drop_account() {
    local tool=${1}del
    # Read anew: a group may have gone with its user.
    ids=()
    if [ "$1" = user ]; then id_of passwd "$2" || return 0; else id_of group "$2" || return 0; fi
    "$tool" ${root:+--prefix "$root"} "$2" 2> /dev/null
}

# ensure_tmpfiles CONF: the directories a tmpfiles.d file declares.
ensure_tmpfiles() {
    local conf=$1 what path bits user group
    while read -r what path bits user group _; do
        [ "$what" = d ] || continue
        ensure_dir "$path" "$bits" "$user" "$group"
    done < "$conf"
}

# Where services write. What is there before the first setup is somebody's; the rest is removed by --undo --purge.
data=()
note_data() {
    local place
    [ "$doing" = apply ] && [ ! -f "$state/data-before" ] || return 0
    for place in ${data[@]+"${data[@]}"}; do [ ! -d "$root$place" ] || find "$root$place"; done > "$state/data-before"
}
purge_data() {
    local place
    [ -f "$state/data-before" ] || return 0
    for place in ${data[@]+"${data[@]}"}; do
        [ -d "$root$place" ] || continue
        say "remove data and logs in $place/"
        find "$root$place" -depth | grep -vxFf "$state/data-before" | while IFS= read -r path; do
            if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2> /dev/null || true; else rm -f "$path"; fi
        done
    done
}

# undo: takes away what the manifest names, last things first, and puts back what was replaced.
undo() {
    local path at
    [ -f "$state/manifest" ] || { say "nothing was set up here ($state/manifest is missing)"; forget_state; return 0; }
    [ -z "$purge" ] || purge_data
    for ((at = ${#order[@]} - 1; at >= 0; at--)); do undo_one "${order[$at]}"; done
    # After the accounts: the tools write these as they go.
    for path in ${order[@]+"${order[@]}"}; do
        [ "${kind[$path]}" = beside ] || continue
        if [ -n "${saved[$path]+x}" ]; then mv -f "${saved[$path]}" "$root$path"; else rm -f "$root$path"; fi
    done
    if [ "$notes" = 0 ]; then
        forget_state
        say "undone"
    else
        say "undone, but for what is named above; $state is kept"
        return 1
    fi
}
undo_one() {
    local path=$1
    case ${kind[$path]} in
        file)
            if [ -f "$root$path" ] && [ "$(sum "$root$path")" != "${detail[$path]}" ] && [ -z "$force" ]; then
                note "kept: $path was changed since it was made; --force removes it"
                return 0
            fi
            put_back "$path"
            ;;
        link) [ "$(readlink "$root$path" 2> /dev/null)" != "${detail[$path]}" ] || put_back "$path" ;;
        dir)
            if [ -d "$root$path" ]; then
                if rmdir "$root$path" 2> /dev/null; then say "remove $path/"; else note "kept: $path/ holds something else; --purge removes data and logs"; fi
            fi
            ;;
        user | group)
            if drop_account "${kind[$path]}" "${detail[$path]}"; then say "remove $path"; else note "kept: $path cannot be removed"; fi
            ;;
    esac
}
put_back() {
    rm -f "$root$1"
    if [ -n "${saved[$1]+x}" ] && [ -e "${saved[$1]}" ]; then
        say "put back $1"
        mv "${saved[$1]}" "$root$1"
    else
        say "remove $1"
    fi
}
# The end of apply, check and dry-run.
report() {
    case $doing in
        apply) if [ "$changes" = 0 ]; then say "nothing to do"; else say "done: $changes changes"; fi ;;
        dry-run) say "$changes changes would be made" ;;
        check)
            if [ "$changes" = 0 ] && [ "$notes" = 0 ]; then say "everything is as it should be"; else say "$changes differences, $notes notes"; return 1; fi
            ;;
    esac
}
