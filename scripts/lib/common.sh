# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# What scripts/setup and scripts/in-root share: paths, messages, keys, atomic results.

# Resolved, so that a checkout reached through a symlink is the same checkout.
CHECKOUT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
CACHE=${TBS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thunderbolt_stream}
# shellcheck disable=SC2034
GUEST=$CHECKOUT/tests/guest
# shellcheck disable=SC2034  # used by the files that source this one
ENV_JSON=$CHECKOUT/build/lab-env.json

# One clear line and out: every failure of setup goes through here.
die() {
	clear_line
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Say something; survives a live progress line.
say() {
	clear_line
	printf '%s\n' "$*"
}

clear_line() {
	[ ! -t 1 ] || printf '\r\033[K'
}

# The sha256, shortened, of everything on stdin.
hash_stdin() {
	sha256sum | cut -c1-16
}

elapsed() {
	local s=$((SECONDS - $1))
	if [ "$s" -ge 60 ]; then printf '%dm%02ds' $((s / 60)) $((s % 60)); else printf '%ds' "$s"; fi
}

# need PROGRAM PACKAGE: a program of the host, or one line that says which package has it.
need() {
	command -v "$1" >/dev/null || die "$1 is missing: install the package $2"
}

is_root() {
	[ "$(id -u)" -eq 0 ]
}

# Without privileges, a user namespace in which we are root and other ids exist too.
# The array is empty for root: "${AS_ROOT[@]}" cmd works for both.
AS_ROOT=()
if ! is_root; then
	# shellcheck disable=SC2034
	AS_ROOT=(unshare --map-root-user --map-auto --)
fi

# remove_tree DIR...: also where its files belong to ids of a user namespace.
remove_tree() {
	local dir
	for dir in "$@"; do
		[ -e "$dir" ] || continue
		"${AS_ROOT[@]}" rm -rf --one-file-system -- "$dir"
	done
}

# tmp_path NAME: a path in the cache that nobody keeps: sweep_tmp removes what interrupted
# runs left there.
tmp_path() {
	printf '%s/tmp.%s\n' "$CACHE" "$1"
}

sweep_tmp() {
	remove_tree "$CACHE"/tmp.*
}

# run_logged TITLE LOG WATCHER CMD...: runs CMD with its output in LOG. While it runs,
# WATCHER (a function, "-" for none) is asked twice a second for a few words on how far it
# is; on a terminal that is a live line, elsewhere a plain line every 30 s.
run_logged() {
	local title=$1 log=$2 watcher=$3 start=$SECONDS last=$SECONDS pid far rc=0
	shift 3
	mkdir -p "${log%/*}"
	# A process group of its own, to be able to stop all of it. It shares the lock: should
	# we be killed, nobody may tidy up under what still runs.
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	RUNNING=$pid
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		far=
		[ "$watcher" = - ] || far=$("$watcher" "$log" 2>/dev/null || true)
		if [ -t 1 ]; then
			printf '\r\033[K    %s: %s (%s)' "$title" "${far:-working}" "$(elapsed "$start")"
		elif [ $((SECONDS - last)) -ge 30 ]; then
			last=$SECONDS
			printf '    %s: %s (%s)\n' "$title" "${far:-working}" "$(elapsed "$start")"
		fi
	done
	wait "$pid" || rc=$?
	RUNNING=
	clear_line
	return "$rc"
}

# die_log LOG MESSAGE: for failures that only their output explains.
die_log() {
	clear_line
	! grep -q 'No space left on device' "$1" || die "$2: no space left on device, see $1"
	tail -n 15 "$1" | sed 's/^/    | /' >&2
	die "$2: see $1"
}

# The process group that run_logged has under way; ends with us (setup traps EXIT).
RUNNING=
stop_running() {
	[ -n "$RUNNING" ] || return 0
	kill -TERM -- "-$RUNNING" 2>/dev/null || true
	wait "$RUNNING" 2>/dev/null || true
	RUNNING=
}
