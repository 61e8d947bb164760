#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The gateway reads 100,000 more peers while 50 clients exchange packets, and forgets them again: no client whose peer stayed
# as it was is dropped, and one that was removed is gone at once.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
[[ -x $BUILD/client_farm ]] || skip_all "make everything builds client_farm"
clients=50 many=100000
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2

gateway_config "Workers = 2"
"$BUILD/client_farm" --peers "$clients" --seed reload >>"$dir/gateway.conf"
cp "$dir/gateway.conf" "$dir/stay.conf"
add_peer leaves
client_config
gateway_start
client_start
other_client_config leaves leaves 198.51.100.1:5555 "10.8.0.0/16"
other_client_start leaves host
start client_farm client "$BUILD/client_farm" --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed reload \
	--clients "$clients" --from 10.64.0.0 --seconds 600 --window 2
all_up() {
	figure_is gateway sessions.active $((clients + 2))
}
check "$clients clients exchange packets, and two more are there" wait_for 60 all_up

connected=$(figure gateway sessions_started)
unchanged() {
	figure_is gateway sessions_started "$connected"
}

# Sets $answer to the answer.
reload() {
	answer=$(ctl reload 2>&1) || true
}

says() { # TEXT
	[[ $answer == *"$1"* ]] || {
		echo "$answer"
		return 1
	}
}

moved() { # PACKETS MORE THAN BEFORE
	[[ $(figure gateway udp_rx_packets) -gt $(($1 + 1000)) ]]
}

{
	cat "$dir/stay.conf"
	python3 -c '
import base64, hashlib, sys
for number in range(int(sys.argv[1])):
    key = base64.b64encode(hashlib.sha256(b"peer %d" % number).digest()).decode()
    print("[Peer]\nPublicKey =", key)' "$many"
} >"$dir/gateway.conf"
before=$(figure gateway udp_rx_packets)
reload
check "peers by the hundred thousand are added" says "$many added, 1 removed, 0 changed, $((clients + 1)) as before; 1 sessions ended"
check "the client of a removed peer is disconnected at once" wait_for 30 grep -q "the gateway ended the session: removed by the operator" "$dir/leaves.log"
check "and is not there any more" wait_for 30 figure_is gateway sessions.active $((clients + 1))
check "packets move on" wait_for 30 moved "$before"
check "nobody had to connect again" unchanged

cp "$dir/stay.conf" "$dir/gateway.conf"
before=$(figure gateway udp_rx_packets)
reload
check "and removed again" says "0 added, $many removed, 0 changed, $((clients + 1)) as before; 0 sessions ended"
check "packets move on" wait_for 30 moved "$before"
check "nobody had to connect again" unchanged
check "all sessions are there" wait_for 30 figure_is gateway sessions.active $((clients + 1))

stop client_farm || true
stop leaves || true
check "every datagram is accounted for" wait_for 30 accounted_for gateway
both_stop

done_testing
