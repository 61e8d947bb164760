# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # build and scratch come from run, oracle goes there
# Of tests/cli/run: how programs are run, what is said about it, what the option tables say. Uses $build, $scratch.

passed=0
failed=0
status=0

# Runs a program of the build; leaves $status, $scratch/out and $scratch/err. A daemon that starts where it should have
# refused is ended.
run() { # PROGRAM ARGUMENT...
	run_with_input /dev/null "$@"
}

run_with_input() { # FILE PROGRAM ARGUMENT...
	status=0
	timeout 300 "$build/$2" "${@:3}" <"$1" >"$scratch/out" 2>"$scratch/err" || status=$?
}

run_to_full_disk() { # PROGRAM ARGUMENT...
	status=0
	: >"$scratch/out"
	timeout 300 "$build/$1" "${@:2}" </dev/null >/dev/full 2>"$scratch/err" || status=$?
}

run_closed() { # PROGRAM ARGUMENT...
	status=0
	: >"$scratch/out"
	timeout 300 "$build/$1" "${@:2}" <&- >&- 2>"$scratch/err" || status=$?
}

# A pipe whose reader is gone, with SIGPIPE ignored, as some that start programs leave it.
run_to_nobody() { # PROGRAM ARGUMENT...
	status=0
	(trap '' PIPE && timeout 300 "$build/$1" "${@:2}" </dev/null 2>"$scratch/err" > >(exec true) || true)
}

# One test: the name, then a command that says whether it holds.
ok() { # NAME COMMAND...
	if "${@:2}"; then
		((++passed))
		echo "ok $((passed + failed)) - $1"
	else
		((++failed))
		echo "not ok $((passed + failed)) - $1"
		echo "# exit status $status"
		sed 's/^/# stderr: /' "$scratch/err" | cut -c1-600 | head -n 5
	fi
}

finish() {
	echo "1..$((passed + failed))"
	echo "$passed passed, $failed failed"
	((failed == 0))
}

# Exit status 0, nothing on standard error; and, optionally, a line like that on standard output.
all_well() { # [and_says PATTERN]
	((status == 0)) && [[ ! -s $scratch/err ]] && { (($# == 0)) || grep -q -- "$2" "$scratch/out"; }
}

# That exit status, nothing on standard output, and one line with that text on standard error.
failed_with() { # STATUS TEXT
	((status == $1)) && [[ ! -s $scratch/out && $(wc -l <"$scratch/err") -eq 1 ]] &&
		grep -qF -- "$2" "$scratch/err"
}

same() { # FILE FILE
	diff "$1" "$2" | sed -n 's/^[<>]/# &/p'
	cmp -s "$1" "$2"
}

differ() { # FILE FILE
	! cmp -s "$1" "$2"
}

### the option tables #################################################################################################

program_of() { # KIND
	case $1 in
	gateway) echo shardtund ;;
	client) echo shardtun ;;
	esac
}

manual_of() { # KIND
	case $1 in
	gateway) echo config/man/shardtund.8 ;;
	client) echo config/man/shardtun.1 ;;
	esac
}

# "SECTION NAME FORM DEFAULT" with tabs; the default is "mandatory", or "-" for none. A long form has its help on the
# next line.
options_of() { # KIND
	"$build/$(program_of "$1")" --help | awk '
		/^\[/ { section = substr($0, 2, length($0) - 2) }
		section != "" && /^  [A-Z][A-Za-z]* = / {
			name = $1
			form = substr($0, length(name) + 6)
			long = form !~ /  /
			sub(/  .*/, "", form)
			if (long) getline
			value = "-"
			if (/ \(mandatory\)$/) value = "mandatory"
			if (match($0, / \(default: .*\)$/)) value = substr($0, RSTART + 11, RLENGTH - 12)
			print section "\t" name "\t" form "\t" value
		}'
}

options_in_manual() { # KIND
	awk '/^\.S[hs] / { section = /\[/ ? substr($2, 2, length($2) - 2) : "" }
		section != "" && /^\.It Ic / { print section "\t" $3 }' "$(manual_of "$1")"
}

options_in_example() { # KIND
	uncommented "config/examples/$1.conf" | awk '
		/^\[/ { section = substr($1, 2, length($1) - 2) }
		/^[A-Z][A-Za-z]* = / { print section "\t" $1 }'
}

# An example with all its options in force.
uncommented() { # FILE
	sed -E 's/^# ([A-Z][A-Za-z]* = )/\1/' "$1"
}

# The item of the option has "Default: X" or "Mandatory", as --help does. A default that depends on others is not in
# the tables, but may be in the manual.
manual_says_default() { # KIND SECTION NAME DEFAULT
	local item
	item=$(awk -v wanted="[$2]" -v name="$3" '
		/^\.S[hs] / { inside = $2 == wanted }
		/^\.(It|El)/ { item = inside && $3 == name }
		item' "$(manual_of "$1")")
	case $4 in
	-) ! grep -q '^Mandatory' <<<"$item" ;;
	mandatory) grep -q '^Mandatory\.$' <<<"$item" ;;
	*) grep -qE "^Default: $4[.,]" <<<"$item" ;;
	esac
}

### keys ##############################################################################################################

# Whose X25519 we compare with.
if command -v wg >/dev/null; then
	oracle="wg"
	public_key() {
		wg pubkey
	}
else
	oracle="python3-cryptography"
	public_key() {
		python3 -c '
import base64, sys
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
key = X25519PrivateKey.from_private_bytes(base64.b64decode(sys.stdin.read()))
print(base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode())'
	}
fi

# Standard output of the last run is one key and nothing else.
is_key() {
	((status == 0)) && [[ ! -s $scratch/err && $(wc -c <"$scratch/out") -eq 45 ]] &&
		grep -qE '^[A-Za-z0-9+/]{43}=$' "$scratch/out" && (($(base64 -d "$scratch/out" | wc -c) == 32))
}

clamped() { # FILE
	local bytes
	read -ra bytes < <(base64 -d "$1" | od -An -v -tu1 -w32)
	(((bytes[0] & 7) == 0 && (bytes[31] & 192) == 64))
}
