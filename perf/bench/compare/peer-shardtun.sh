#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is compared with the others: gateway and client as they plan themselves for this machine, or the gateway with OPTIONS, split at ";".
# shellcheck disable=SC2034,SC2154 # variables of who sources it
shardtun_both=() # options of gateway and clients

peer_shardtun_available() {
	[[ -x $BUILD/shardtund && -x $BUILD/shardtun ]] || {
		echo "not built (make programs)"
		return 1
	}
}

peer_shardtun_version() {
	"$BUILD/shardtund" --version | sed "1s/^shardtund *//; q"
}

peer_shardtun_addresses() {
	echo 10.8.0.1 198.51.100.8
}

# Where there is a second client, there are also peers for what fills the other workers.
peer_shardtun_up() {
	local options
	IFS=';' read -ra options <<<"${OPTIONS:-}"
	gateway_config "LogLevel = warning" "${shardtun_both[@]}" "${options[@]}"
	if [[ " ${namespaces[*]} " == *" second "* ]]; then
		add_peer second
		"$BUILD/stgun" keys 255 --seed fillers >>"$dir/gateway.conf"
	fi
	other_client_config client client 192.0.2.1:5555 "10.8.0.0/16, 198.51.100.8/32" "LogLevel = warning" "${shardtun_both[@]}"
	start "$peer_name-gateway" gateway "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 10 status_json gateway
}

peer_shardtun_client() {
	client_command=("$BUILD/shardtun" run "$dir/client.conf")
}

# A new session comes to the worker that has fewest. When each of the others has one of stgun's, the second client comes to that of the first.
peer_shardtun_second() {
	local fillers
	fillers=$(($(cat /proc/"${started[$peer_name-gateway]}"/task/*/comm | grep -c '^worker') - 1))
	if [[ $fillers -gt 0 ]]; then
		rm -f "$dir/fillers.log"
		start fillers client "$BUILD/stgun" connect --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" \
			--seed fillers --sessions "$fillers" --stay 600
		wait_for 15 grep -q "sessions up" "$dir/fillers.log"
	fi
	other_client_config second second 203.0.113.1:5555 10.8.0.0/16 "LogLevel = warning" "${shardtun_both[@]}"
	client_command=("$BUILD/shardtun" run "$dir/second.conf")
}

peer_shardtun_second_up() {
	[[ -z ${started[fillers]:-} ]] || stop fillers || true
	wait_for 5 figure_is gateway sessions.active 2
	[[ $("$BUILD/shardtunctl" --socket "$dir/gateway.sock" --json sessions | grep -o '"worker": *[0-9]*' | sort -u | wc -l) -eq 1 ]] || {
		echo "the clients are not on one worker" >&2
		return 1
	}
}
