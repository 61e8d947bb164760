#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The kernel gives each datagram to the worker of its session, and each HELLO to a handshake thread, wherever it comes
# from: looked at from outside, at the sockets of a gateway that is stopped. And each socket has a reader.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
ns client ip address add 192.0.2.3/24 dev eth0
ns client ip address add 2001:db8:1::3/64 dev eth0 nodad

# Two IDs for each of 1000 sessions make 2048 slots.
steered() { # WORKERS HANDSHAKERS ADDRESS SOURCE...
	ns client "$tests_dir/tools/steering.py" "${started[gateway]}" 5555 "$1" "$2" 2047 "${@:3}"
}

for workers in 1 3 6 7; do
	for handshakers in 1 3; do
		what="workers $workers, handshake threads $handshakers"
		gateway_config "Workers = $workers" "Handshakers = $handshakers" "MaxSessions = 1000"
		gateway_start
		check "$what: over IPv4" steered "$workers" "$handshakers" 192.0.2.1 192.0.2.2 192.0.2.3
		check "$what: over IPv6" steered "$workers" "$handshakers" 2001:db8:1::1 2001:db8:1::2 2001:db8:1::3
		status=0
		stop gateway || status=$?
		check "$what: the gateway ends with status 0" test "$status" -eq 0
	done
done

done_testing
