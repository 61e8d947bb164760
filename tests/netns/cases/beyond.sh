#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A client with AllowedIPs = 0.0.0.0/0, ::/0 reaches a web server beyond the gateway, by name, through masquerading, and
# nothing goes around the tunnel. With a kill switch not even when gateway or client die.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/beyond.sh
. "$(dirname "$0")/../lib/beyond.sh"

page_is() { # 4|6 VISITOR
	[[ $(visit "$1") == "Hello $2, this is www.example.net" ]]
}

# Each in its own way, all at once, and each in vain.
everything_in_vain() {
	local failed=0
	visit 4 1 >/dev/null 2>&1 && failed=1
	visit 6 1 >/dev/null 2>&1 && failed=1
	pings client 198.51.100.2 && failed=1
	pings client 2001:db8:2::2 && failed=1
	return "$failed"
}

both_pages() { # DESCRIPTION
	check "$1: the page in IPv4, from the gateway's address" wait_for 60 page_is 4 198.51.100.1
	check "$1: the page in IPv6, from the gateway's address" wait_for 60 page_is 6 2001:db8:2::1
}

topology_up
beyond_up
check "there is a way around the tunnel" wait_for 60 visit 4

beyond_config
gateway_start
client_start
capture_start quiet
both_pages "everything through the tunnel"
check "nothing went around it" test -z "$(capture_stop quiet)"

# What the capture has to be able to see.
kill_hard client
capture_start leaky
check "without a kill switch, and the client gone, everything goes around" wait_for 60 visit 4
check "the capture shows it" test -n "$(capture_stop leaky)"

beyond_config "KillSwitch = yes"
client_start
both_pages "with a kill switch"
capture_start dead
kill_hard gateway
check "the gateway dies: nothing is reached" everything_in_vain
kill_hard client
check "the client dies too: nothing is reached" everything_in_vain
check "and nothing leaked in that time" test -z "$(capture_stop dead)"
gateway_start
client_start
both_pages "both are back"
both_stop

done_testing
