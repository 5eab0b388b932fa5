# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# Step "kernel stock": the distribution's binary kernel, unpacked and not installed, with the
# Rust metadata that its headers lack. Like the source it is pinned in the cache (stock.pin).

STOCK_SERIES=7.2

# Bump when the recipe below changes in a way that its data does not show.
STOCK_RECIPE=2

stock_id() {
	local release version
	[ -s "$CACHE/stock.pin" ] || return 0
	read -r release version <"$CACHE/stock.pin"
	printf 'stock-%s-%s\n' "$release" "$({
		# The metadata is made by the root's rustc.
		printf '%s\n' "$STOCK_RECIPE" "$version" "$(root_name)"
	} | hash_stdin)"
}

stock_pin() {
	local package version
	[ ! -s "$CACHE/stock.pin" ] || return 0
	package=$(in_root apt-cache search --names-only "^linux-image-${STOCK_SERIES//./\\.}.*-amd64\$" |
		awk '{ print $1 }' | grep -vE -- '-(rt|cloud)-' | sort -V | tail -n 1) || true
	[ -n "$package" ] || die "the archive has no linux-image-$STOCK_SERIES.*-amd64: try scripts/setup --update"
	version=$(candidate "$package")
	printf '%s %s\n' "${package#linux-image-}" "$version" >"$CACHE/stock.pin.new"
	mv "$CACHE/stock.pin.new" "$CACHE/stock.pin"
}

# stock_metadata DIR RELEASE VERSION LOG: as on a user's machine.
stock_metadata() {
	local dir=$1 release=$2 version=$3 log=$4
	apt_fetch "$dir/source" "$log" "linux-source-$STOCK_SERIES=$version"
	# shellcheck disable=SC2016
	run_logged 'unpack the source' "$log" - in_root bash -c 'set -eo pipefail
		dpkg-deb --fsys-tarfile "$0"/*.deb | tar -xO --wildcards "./usr/src/*.tar.xz" >"$0/linux.tar.xz"' "$dir/source" ||
		die_log "$log" 'unpacking the source failed'
	run_logged 'Rust metadata' "$log" - in_root "$CHECKOUT/scripts/debian-rust-metadata" \
		--headers "$dir/out/usr/src/linux-headers-$release" --source "$dir/source/linux.tar.xz" \
		--work "$dir" "$release" || die_log "$log" 'making the Rust metadata failed'
}

stock_build() {
	local release version dir log=$CACHE/logs/kernel-stock.log headers packages final
	read -r release version <"$CACHE/stock.pin"
	dir=$(tmp_path stock)
	final=$CACHE/$(kernel_name stock)
	# The headers need the ones common to all flavours and the built scripts of kbuild.
	mapfile -t packages < <(in_root apt-cache depends "linux-headers-$release" |
		awk '$1 == "Depends:" && $2 ~ /^linux-(headers|kbuild)-/ { print $2 }')
	apt_fetch "$dir/deb" "$log" "linux-image-$release=$version" "linux-headers-$release" "${packages[@]}"
	# Distributions may keep the modules in a package of their own.
	packages=()
	mapfile -t packages < <(in_root apt-cache depends "linux-image-$release" |
		awk '$1 == "Depends:" && $2 ~ /^linux-(modules|binary|base)-[0-9]/ { print $2 }')
	[ ${#packages[@]} -eq 0 ] || apt_fetch "$dir/deb" "$log" "${packages[@]}"
	mkdir -p "$dir/x" "$dir/out/modules/lib" "$dir/out/usr"
	# shellcheck disable=SC2016
	run_logged 'unpack' "$log" - in_root bash -c 'set -e; cd "$0"; for deb in deb/*.deb; do dpkg-deb -x "$deb" x; done' "$dir" ||
		die_log "$log" "unpacking the kernel failed"
	# Where the parts are has changed before and may again.
	mv "$(find "$dir/x" -name "vmlinuz*" -type f | head -n 1)" "$dir/out/vmlinuz"
	mv "$(find "$dir/x" -path "*/lib/modules" -type d | head -n 1)" "$dir/out/modules/lib/"
	in_root depmod -b "$dir/out/modules" "$release"
	mv "$dir/x/usr/src" "$dir/out/usr/src"
	[ ! -d "$dir/x/usr/lib" ] || mv "$dir/x/usr/lib" "$dir/out/usr/lib"
	headers=$dir/out/usr/src/linux-headers-$release
	# They name each other by absolute paths; here they are somewhere else.
	sed -i "s|/usr/src/|$final/usr/src/|g; s|/usr/lib/linux-kbuild|$final/usr/lib/linux-kbuild|g" "$headers/Makefile" "$headers/.kernelvariables" 2>/dev/null || true
	stock_metadata "$dir" "$release" "$version" "$log"
	: >"$dir/out/make"
	printf '%s\n' "$release" >"$dir/out/release"
	printf '%s\n' "$final/usr/src/linux-headers-$release" >"$dir/out/kdir"
	printf '%s\n' "$final/usr/src/linux-headers-$release" >"$dir/out/source"
	[ ! -e "$final" ] || remove_tree "$final"
	mv -T "$dir/out" "$final"
	remove_tree "$dir"
}
