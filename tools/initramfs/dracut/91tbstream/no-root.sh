#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# A rescue needs no root file system; without one dracut would stop before it.

# shellcheck disable=SC2034  # dracut's variables
if [ -z "$root" ] && getargbool 0 tbstream.rescue; then
	root=tbstream
	rootok=1
fi
