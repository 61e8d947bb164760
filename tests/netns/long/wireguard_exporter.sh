#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A public exporter of WireGuard's figures, one that parses "wg show all dump", beside our gateway: it has all peers, the one that is
# connected and those that never were, each with the figures that wg shows, and promtool parses what it makes of them. The exporter is
# named, so "make test" leaves this out. It prints its metrics, or serves them at a port of 127.0.0.1 (under /metrics):
# WIREGUARD_EXPORTER="COMMAND ARGUMENT..." [WIREGUARD_EXPORTER_PORT=N] tests/netns/run build/gcc $PWD/tests/netns/long/wireguard_exporter.sh
#
#   client: wireguard-go "plain", 10.8.0.20   |   never connected: "away", with all that a peer can have, and "idle", with nothing
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

if [[ -z ${WIREGUARD_EXPORTER:-} ]]; then
	echo "Bail out! WIREGUARD_EXPORTER has to name an exporter, with its arguments"
	exit 1
fi
command -v promtool >/dev/null || skip_all "needs promtool (Debian: prometheus)"
read -ra exporter <<<"$WIREGUARD_EXPORTER"

wireguard_topology_up
preshared_key away
wireguard_gateway_config "Workers = 2"
wireguard_peer plain "Address = 10.8.0.20"
wireguard_peer away "Address = 10.8.0.21" "PresharedKeyFile = away.psk" "AllowedIPs = 192.168.7.0/24, fd00:7::/64" \
	"Endpoint = [2001:db8:1::99]:51820" "PersistentKeepalive = 25"
wireguard_peer idle "Address = 10.8.0.22"
wireguard_gateway_start
wireguard_plain_start
check "a client connects" wait_for 30 pings client 10.8.0.1

# --- what it says ---
with_own_run() { # COMMAND...
	ns gateway nsenter --target "${started[holder]}" --mount "$@"
}

# Some ping the peers after they looked, so what wg shows is noted before.
scrape() {
	with_own_run wg show all dump >"$dir/dump"
	if [[ -z ${WIREGUARD_EXPORTER_PORT:-} ]]; then
		with_own_run "${exporter[@]}" >"$dir/metrics" 2>"$dir/exporter.log"
	else
		ns gateway python3 -c '
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:%s/metrics" % sys.argv[1], timeout=60).read().decode())' \
			"$WIREGUARD_EXPORTER_PORT" >"$dir/metrics"
	fi
}

if [[ -n ${WIREGUARD_EXPORTER_PORT:-} ]]; then
	start exporter gateway nsenter --target "${started[holder]}" --mount "${exporter[@]}"
	wait_for 30 listens gateway tcp "$WIREGUARD_EXPORTER_PORT"
fi

# Status 3: only its style is found fault with.
promtool_parses() {
	local status=0
	promtool check metrics <"$dir/metrics" || status=$?
	[[ $status -eq 0 || $status -eq 3 ]]
}

# Exporters have names of their own, and some say a key's first eight characters; but each figure of a peer is the value of a
# sample of it.
has_what_wg_shows() {
	python3 -c '
import re, sys
samples = [re.fullmatch(r"(\w+)\{(.*)\} (\S+)( \d+)?", line) for line in open(sys.argv[1]).read().splitlines() if "{" in line]
assert all(samples), "a line is no sample"
peers = [line.split("\t") for line in sys.stdin.read().splitlines()[1:]]
assert len(peers) == 3, peers
for _, key, _, _, _, handshake, rx, tx, _ in peers:
    values = [float(sample[3]) for sample in samples if key[:8] in sample[2]]
    missing = [figure for figure in (handshake, rx, tx) if float(figure) not in values]
    assert not missing, (key, missing, values)
assert any(int(peer[5]) > 0 and int(peer[6]) > 0 for peer in peers), "none is connected"
assert sum(int(peer[5]) == 0 for peer in peers) == 2, "two are not"' "$dir/metrics" <"$dir/dump"
}

mentions_no_other() {
	! grep -F "$(public_key client | cut -c1-8)" "$dir/metrics"
}

for round in first second; do
	check "${exporter[0]##*/} answers, the $round time" scrape
	diagnose <"$dir/metrics"
	check "promtool parses it" promtool_parses
	check "it has what wg shows of each peer" has_what_wg_shows
	check "and no peer of the own protocol" mentions_no_other
	check "more is sent and received" answers client 10.8.0.1
done
if [[ -n ${WIREGUARD_EXPORTER_PORT:-} ]]; then
	stop exporter || true
fi

stop plain || true
stop gateway || true
done_testing
