# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# Step "source": the distribution's kernel source.
#
# Which version that is, is decided once and written down in the cache (source.pin):
# otherwise every run had to ask the archive, and a new point release would throw away
# everybody's kernel. `setup --update` decides anew.

# Newest first; the archive drops old ones.
SOURCE_SERIES=(7.3 7.2)

in_root() {
	TBS_ROOT=$ROOT "$CHECKOUT/scripts/in-root" "$@"
}

# apt_update LOG: fresh package lists in the root.
apt_update() {
	run_logged 'package lists' "$1" - in_root apt-get update -o APT::Sandbox::User=root ||
		bootstrap_failed "$1" 'apt-get update'
}

# apt_fetch DIR LOG PACKAGE[=VERSION]...: downloads packages, checked by apt, into DIR. The
# lists may be older than the archive; then once more with new ones.
apt_fetch() {
	local dir=$1 log=$2
	shift 2
	mkdir -p "$dir"
	# shellcheck disable=SC2016
	local fetch=(in_root sh -c 'cd "$0" && apt-get download -q -o APT::Sandbox::User=root "$@"' "$dir" "$@")
	run_logged 'download' "$log" - "${fetch[@]}" 2>/dev/null && return
	apt_update "$log"
	run_logged 'download' "$log" - "${fetch[@]}" || bootstrap_failed "$log" "fetching $*"
}

# candidate PACKAGE: the version that apt would take, or nothing.
candidate() {
	in_root apt-cache policy "$1" | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}

source_pin() {
	local series version
	[ ! -s "$CACHE/source.pin" ] || return 0
	for series in "${SOURCE_SERIES[@]}"; do
		version=$(candidate "linux-source-$series")
		[ -n "$version" ] || continue
		printf 'linux-source-%s %s\n' "$series" "$version" >"$CACHE/source.pin.new"
		mv "$CACHE/source.pin.new" "$CACHE/source.pin"
		return 0
	done
	die "the archive has no linux-source of ${SOURCE_SERIES[*]}: try scripts/setup --update"
}

# source-7.3.4-1~bpo13+1; make would choke on some characters, rustc on none of these.
source_name() {
	local package version
	read -r package version <"$CACHE/source.pin" || return 0
	printf 'source-%s-%s\n' "${package#linux-source-}" "${version//[^A-Za-z0-9.+-]/_}"
}

source_build() {
	local package version dir log=$CACHE/logs/source.log
	read -r package version <"$CACHE/source.pin"
	dir=$(tmp_path source)
	apt_fetch "$dir/deb" "$log" "$package=$version"
	mkdir "$dir/src"
	# shellcheck disable=SC2016
	run_logged 'unpack' "$log" - in_root bash -c 'set -eo pipefail
		dpkg-deb --fsys-tarfile "$0"/deb/*.deb | tar -xO --wildcards "./usr/src/*.tar.xz" |
		tar -xJ -C "$0/src" --strip-components=1' "$dir" || die_log "$log" "unpacking the source failed"
	mv -T "$dir/src" "$CACHE/$(source_name)"
	remove_tree "$dir"
}
