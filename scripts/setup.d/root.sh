# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# Step "root": a Debian root with the compilers, QEMU and what goes into the guests.

SUITE=trixie

# Bump when the recipe below changes in a way that its data does not show.
ROOT_RECIPE=1

ROOT_PACKAGES=(
	# the kernel and its modules, in C and in Rust
	rustc rust-src bindgen rustfmt rust-clippy clang llvm lld gcc make flex bison bc
	libc6-dev libelf-dev libdw-dev libssl-dev pahole cpio kmod xz-utils zstd rsync
	python3 perl-base patch ca-certificates
	# the machine
	qemu-system-x86 seabios
	# the guests
	erofs-utils busybox-static qemu-guest-agent
)

# The newest QEMU and kernel are in backports; everything else only if these ask for it.
ROOT_PREFERENCES='Package: src:qemu src:seabios src:ipxe src:linux src:linux-signed-amd64
Pin: release n='$SUITE'-backports
Pin-Priority: 600
'

# Nobody reads manuals in a tool chain.
DPKG_OPTIONS=(
	--dpkgopt='path-exclude=/usr/share/man/*'
	--dpkgopt='path-exclude=/usr/share/doc/*'
	--dpkgopt='path-exclude=/usr/share/info/*'
	--dpkgopt='path-exclude=/usr/share/locale/*'
)

root_name() {
	printf 'root-%s\n' "$(printf '%s\n' "$ROOT_RECIPE" "$SUITE" "${ROOT_PACKAGES[@]}" \
		"$ROOT_PREFERENCES" "${DPKG_OPTIONS[@]}" | hash_stdin)"
}

# Prints the address of the Debian archive that this machine itself uses: no host is named
# here, because the nearest mirror, or the only one that can be reached, is known there.
mirror() {
	local uri list
	if [ -n "${TBS_MIRROR:-}" ]; then
		printf '%s\n' "$TBS_MIRROR"
		return
	fi
	need apt-get 'apt, or set TBS_MIRROR='
	# Without package lists the origin is not known yet; then the suite's name decides.
	# shellcheck disable=SC2016  # apt's placeholders, not ours
	uri=$(apt-get indextargets --format '$(CREATED_BY)|$(COMPONENT)|$(ORIGIN)|$(LABEL)|$(RELEASE)|$(REPO_URI)' |
		awk -F'|' '$1 != "Packages" || $2 != "main" { next }
			$3 == "Debian" && $4 == "Debian" { print $6; exit }
			$3 !~ /^[A-Z]/ && $5 ~ /^(bookworm|trixie|forky|(old)?stable|testing|sid|unstable)$/ { print $6; exit }')
	case $uri in
	mirror+file:*)
		# The list is a file of this machine; the root cannot see it.
		list=${uri#mirror+file:}
		uri=$(awk '/^[a-z]/ { print $1; exit }' "${list%/}")
		;;
	esac
	[ -n "$uri" ] || die 'no Debian archive in the apt configuration of this machine: set TBS_MIRROR='
	printf '%s\n' "${uri%/}"
}

# The lines of sources.list for the root and for the guests' image.
root_sources() {
	local uri
	uri=$(mirror) || return
	printf "deb $uri %s main\n" "$SUITE" "$SUITE-updates" "$SUITE-backports"
}

# What the machine's apt needs to reach its archive, the root's apt needs too.
apt_proxy_options() {
	apt-config dump 2>/dev/null |
		sed -nE 's/^(Acquire::https?::Proxy(::[^ ]+)?) "(.+)";$/--aptopt=\1 "\3"/p'
}

need_mmdebstrap() {
	command -v mmdebstrap >/dev/null && return
	if is_root && command -v apt-get >/dev/null; then
		say '    mmdebstrap is missing; installing it'
		apt-get install -y --no-install-recommends mmdebstrap >/dev/null 2>&1 ||
			{ apt-get update && apt-get install -y --no-install-recommends mmdebstrap; } \
				>/dev/null 2>&1 || true
	fi
	need mmdebstrap mmdebstrap
}

# debootstrap_args VARIANT: what mmdebstrap is told in every case, in DEBOOTSTRAP.
debootstrap_args() {
	local options
	mapfile -t options < <(apt_proxy_options)
	DEBOOTSTRAP=(mmdebstrap "--variant=$1" "${DPKG_OPTIONS[@]}"
		'--aptopt=APT::Install-Recommends "false"'
		'--aptopt=Acquire::Languages "none"'
		'--aptopt=Acquire::Retries "3"'
		# An interrupted root is thrown away anyway.
		--dpkgopt=force-unsafe-io
		"${options[@]}"
		"--setup-hook=mkdir -p \"\$1/etc/apt/preferences.d\" && printf %s '$ROOT_PREFERENCES' >\"\$1/etc/apt/preferences.d/backports\"")
}

root_far() {
	grep '^[IE]: ' "$1" | tail -n 1 | cut -c4-70
}

# Explains the failures that people can do something about.
bootstrap_failed() {
	local log=$1
	if grep -qE 'Could not resolve|Could not connect|Failed to fetch|Unable to connect|Connection (failed|timed out)' "$log"; then
		die "the Debian archive $(mirror) could not be reached, or lacks a file: see $log"
	elif grep -qE 'uidmap|newuidmap|subuid|unprivileged' "$log"; then
		die "this machine does not let users make roots (user namespaces, package uidmap, /etc/subuid): run as root, or see $log"
	fi
	die_log "$log" "$2 failed"
}

root_build() {
	local dir log=$CACHE/logs/root.log sources include
	need_mmdebstrap
	sources=$(tmp_path sources.list)
	root_sources >"$sources"
	dir=$(tmp_path root)
	include=$(IFS=,; printf '%s' "${ROOT_PACKAGES[*]}")
	debootstrap_args apt
	# The lists stay: the kernel's source is fetched from inside, signatures checked.
	DEBOOTSTRAP+=(--skip=cleanup/apt/lists "--include=$include")
	if is_root; then
		run_logged 'packages' "$log" root_far "${DEBOOTSTRAP[@]}" --mode=root --format=directory \
			"$SUITE" "$dir" "$sources" || bootstrap_failed "$log" 'making the root'
	else
		# Through a tar: the ids that mmdebstrap maps are not those that we map later.
		mkdir -p "$dir"
		# shellcheck disable=SC2016
		run_logged 'packages' "$log" root_far bash -c '
			set -o pipefail
			root=$1 sources=$2 suite=$3 as=$4
			shift 4
			"$@" --mode=unshare --format=tar "$suite" - "$sources" |
				unshare --map-root-user --map-auto -- tar -x -C "$root" --exclude="./dev/?*"' \
			root "$dir" "$sources" "$SUITE" x "${DEBOOTSTRAP[@]}" ||
			bootstrap_failed "$log" 'making the root'
	fi
	mv -T "$dir" "$CACHE/$(root_name)"
}
