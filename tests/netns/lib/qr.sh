# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The QR codes that shardtunctl prints, as a camera would read them. Sourced after lib.sh.

# What the QR code in $dir/NAME.conf says is the file itself. zbarimg reads a picture: each character is two modules, one
# above the other.
qr_says_the_file() { # NAME
	sed -n 's/^# \([█▀▄ ]*\)$/\1/p' "$dir/$1.conf" | python3 -c '
import sys
scale, rows = 6, []
for line in sys.stdin.read().splitlines():
    rows.append([c in "█▀" for c in line])
    rows.append([c in "█▄" for c in line])
print("P1", scale * len(rows[0]), scale * len(rows))
for row in rows:
    for _ in range(scale):
        print(" ".join("0" if white else "1" for white in row for _ in range(scale)))
' >"$dir/qr.pbm"
	grep -v '^# [█▀▄ ]*$' "$dir/$1.conf" >"$dir/without"
	zbarimg --quiet --raw --oneshot "$dir/qr.pbm" | sed '$ { /^$/d }' >"$dir/said"
	diff "$dir/without" "$dir/said"
}
