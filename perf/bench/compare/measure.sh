# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What make bench measures; sourced after peers.sh. Each function takes one sample of each of "${subjects[@]}" in turn, and appends
# "SUBJECT FIGURE VALUE" to $samples_file; a failure is reported, and the next subject follows.
# "$seconds" and "$unaggregated_seconds" are how long a sample takes.

# shellcheck disable=SC2034 # run reads it at the end
failed=0

progress_begin() { # WHAT
	printf '%4d s  %-34s' "$SECONDS" "$1" >&2
}

sample() { # SUBJECT FIGURE VALUE [MARK]
	echo "$1 $2 $3" >>"$samples_file"
	printf '  %s %s%s' "$1" "$3" "${4:-}" >&2
}

progress_end() {
	echo >&2
}

not_measured() { # SUBJECT FIGURE
	failed=$((failed + 1))
	printf '\nbench: %s %s: not measured (%s)\n' "$1" "$2" "$(tail -n 1 "$dir/error")" >&2
}

# --- TCP -------------------------------------------------------------------------------------------------------------

# Prints Gbit/s and bytes at the receiver; with --bidir, those of both. The client is in the namespace $tcp_client.
tcp_client=client
tcp() { # SERVER_NAMESPACE ADDRESS IPERF_ARGS...
	local server=$1 address=$2 pid
	shift 2
	ns "$server" iperf3 --server --one-off >/dev/null 2>&1 &
	pid=$!
	wait_for 5 listens "$server" tcp 5201 || true
	ns "$tcp_client" timeout "$((seconds + 20))" iperf3 --client "$address" --json --connect-timeout 5000 --congestion cubic \
		"$@" >"$dir/iperf.json" 2>&1 || true
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	"$here/iperf.py" "$dir/iperf.json" 2>"$dir/error"
}

# CPU time of all the gateway's threads so far, in seconds; nothing where there is no gateway.
gateway_cpu() { # SUBJECT
	[[ -n ${started[$1-gateway]:-} ]] || return 0
	sed 's/.*) //' "/proc/${started[$1-gateway]}/stat" | awk -v hz="$(getconf CLK_TCK)" '{ print ($12 + $13) / hz }'
}

measure_tcp() { # FIGURE CPU_FIGURE|"" inner|forwarded IPERF_ARGS...
	local figure=$1 cpu_figure=$2 where=$3 name server gbit bytes before after
	shift 3
	[[ $where == inner ]] && server=gateway || server=host
	progress_begin "$figure"
	for name in "${subjects[@]}"; do
		before=$(gateway_cpu "$name")
		if read -r gbit bytes < <(tcp "$server" "$(peer_"$where" "$name")" --time "$seconds" "$@"); then
			after=$(gateway_cpu "$name")
			sample "$name" "$figure" "$gbit"
			[[ -z $cpu_figure || -z $before ]] || echo "$name $cpu_figure" \
				"$(awk -v used="$before $after" -v bytes="$bytes" 'BEGIN {
					split(used, at, " ")
					printf "%.3f", (at[2] - at[1]) * 2 ^ 30 / bytes }')" >>"$samples_file"
		else
			not_measured "$name" "$figure"
		fi
	done
	progress_end
}

# --- UDP -------------------------------------------------------------------------------------------------------------

udp() { # MODE SUBJECT ARGS...
	local mode=$1 name=$2
	shift 2
	ns client "$BUILD/bench/udp" "$mode" "/run/netns/st-$$-gateway" "$(peer_inner "$name")" "$@" 2>"$dir/error"
}

measure_unaggregated() { # PAYLOAD
	local figure=unaggregated-$1/kpps name kpps limit
	progress_begin "$figure"
	for name in "${subjects[@]}"; do
		if read -r kpps limit < <(udp unaggregated "$name" "$1" "$unaggregated_seconds" 0.01); then
			sample "$name" "$figure" "$kpps" "$([[ $limit == tunnel ]] || echo "*")"
			[[ $limit == tunnel ]] || echo "$name $figure" >>"$dir/generator"
		else
			not_measured "$name" "$figure"
		fi
	done
	progress_end
}

measure_rtt_idle() {
	local name median high rest
	progress_begin "rtt-idle-p50, -p99/us"
	for name in "${subjects[@]}"; do
		if read -r median high rest < <(udp rtt "$name" 64 "$(awk -v s="$seconds" 'BEGIN { print s < 4 ? s / 2 : 2 }')"); then
			sample "$name" rtt-idle-p50/us "$median"
			sample "$name" rtt-idle-p99/us "$high"
		else
			not_measured "$name" rtt-idle
		fi
	done
	progress_end
}

# The requests are sent while the stream runs.
measure_rtt_loaded() {
	local name median high rest gbit
	progress_begin "rtt-loaded-p50, -p99/us, tcp/gbit"
	for name in "${subjects[@]}"; do
		if beside_tcp "$(peer_inner "$name")" "$dir/loaded" udp rtt "$name" 64 "$seconds" 500 &&
			read -r median high rest <"$dir/loaded" && read -r gbit rest <"$dir/beside"; then
			sample "$name" rtt-loaded-p50/us "$median"
			sample "$name" rtt-loaded-p99/us "$high"
			sample "$name" tcp-beside-rtt/gbit "$gbit"
		else
			not_measured "$name" rtt-loaded
		fi
	done
	progress_end
}

# Runs COMMAND, which takes "$seconds", while TCP runs between the gateway and $tcp_client, with "${beside_args[@]}"; its output is in
# OUTPUT, and that of tcp in $dir/beside. Fails when the stream ended before COMMAND.
beside_args=()
beside_tcp() { # ADDRESS OUTPUT COMMAND...
	local address=$1 output=$2 pid status=0
	shift 2
	tcp gateway "$address" --time "$((seconds + 1))" "${beside_args[@]}" >"$dir/beside" &
	pid=$!
	wait_for 10 stream_moves || true
	"$@" >"$output" || status=1
	if gone "$pid"; then
		echo "the stream of TCP ended before the requests" >"$dir/error"
		status=1
	fi
	wait "$pid" && return "$status"
}

# Whether the client's stream moved more than a handshake and a first window, in whichever direction.
stream_moves() {
	ns "$tcp_client" ss -Htin state established "dport = :5201" |
		awk '{
				while (match($0, /bytes_(acked|received):[0-9]+/)) {
					split(substr($0, RSTART, RLENGTH), part, ":")
					moves = moves || part[2] > 1000000
					$0 = substr($0, RSTART + RLENGTH)
				}
			}
			END { exit !moves }'
}

# --- the rest --------------------------------------------------------------------------------------------------------

measure_connect() { # TIMES
	local name value i
	progress_begin "connect/ms"
	for name in "${subjects[@]}"; do
		peer "$name" client
		[[ ${#client_command[@]} -gt 0 ]] || continue
		peer_client_stop "$name"
		for ((i = 0; i < $1; i++)); do
			! declare -F "peer_${name//-/_}_forget" >/dev/null || peer "$name" forget
			if value=$(udp connect "$name" "${client_command[@]}"); then
				sample "$name" connect/ms "$value"
			else
				not_measured "$name" connect/ms
			fi
		done
		! declare -F "peer_${name//-/_}_forget" >/dev/null || peer "$name" forget
		peer_client_start "$name" || echo "bench: $name: the client does not come back" >&2
	done
	progress_end
}

measure_resident() {
	local name
	progress_begin "resident/mib"
	for name in "${subjects[@]}"; do
		[[ -n ${started[$name-gateway]:-} ]] || continue
		sample "$name" resident/mib \
			"$(awk '/^VmRSS:/ { printf "%.1f", $2 / 1024 }' "/proc/${started[$name-gateway]}/status")"
	done
	progress_end
}

# --- what the datagrams cross ----------------------------------------------------------------------------------------

# gso: the veth as it is, which carries a train of datagrams whole. wire: each datagram, and each segment of bare TCP, crosses alone,
# and the receiving kernel may merge them.
underlay() { # gso|wire
	local side features=(tx-udp-segmentation on tso on gro off)
	[[ $1 == gso ]] || features=(tx-udp-segmentation off tso off gro on)
	for side in client gateway; do
		ns "$side" ethtool -K eth0 "${features[@]}" >/dev/null
		# Since Linux 5.12.
		ns "$side" ethtool -K eth0 rx-udp-gro-forwarding "${features[5]}" >/dev/null 2>&1 || true
	done
	wait_for 5 pings client 192.0.2.1
}
