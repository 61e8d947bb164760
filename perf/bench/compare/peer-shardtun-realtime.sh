#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shardtun with CpuPriority = realtime at gateway and clients.
# shellcheck disable=SC2034,SC2154 # variables of who sources it, and of peer-shardtun.sh

peer_shardtun_realtime_available() {
	peer_shardtun_available
}

peer_shardtun_realtime_version() {
	peer_shardtun_version
}

peer_shardtun_realtime_addresses() {
	peer_shardtun_addresses
}

peer_shardtun_realtime_up() {
	local shardtun_both=("CpuPriority = realtime")
	peer_shardtun_up
}

peer_shardtun_realtime_client() {
	peer_shardtun_client
}

peer_shardtun_realtime_second() {
	local shardtun_both=("CpuPriority = realtime")
	peer_shardtun_second
}

peer_shardtun_realtime_second_up() {
	peer_shardtun_second_up
}
