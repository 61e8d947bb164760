#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A Prometheus scrapes a gateway under load, and what it computes agrees with what the gateway says itself. Alerts and
# dashboard name only what is there. Neither slow scrapers nor eager ones stop others or traffic, or take memory.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

command -v prometheus promtool etcd >/dev/null || skip_all "needs Prometheus and etcd: config/install-packages monitor cluster"

url=http://127.0.0.1:9586
prometheus=http://127.0.0.1:9090
config=$tests_dir/../../config

metrics() { # COMMAND ARGUMENT...
	ns gateway "$tests_dir/tools/metrics.py" "$@"
}

scrape() { # FILE
	metrics get "$url/metrics" >"$dir/$1"
}

scraped() { # NAME: the sum of its samples, now
	scrape now && metrics figure "$dir/now" "$1"
}

# --- the rules and the dashboard -------------------------------------------------------------------------------------

topology_up
check "the alert rules are right" promtool check rules "$config/prometheus/shardtun.rules.yml"
check "the alerts fire when they should, and only then" promtool test rules "$tests_dir/tools/rules_test.yml"
check "the scrape example is right" promtool check config "$config/prometheus/prometheus.yml"
check "the dashboard is JSON" python3 -m json.tool "$config/grafana/shardtun.json"

# --- a port that is taken --------------------------------------------------------------------------------------------

gateway_config
start other gateway python3 -m http.server --bind 127.0.0.1 9586
wait_for 30 listens gateway tcp 9586
start gateway gateway "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 gone "${started[gateway]}" || true
status=0
stop gateway || status=$?
check "a gateway whose port is taken ends with status 1" test "$status" -eq 1
check "and says so in one line" test "$(grep -c 'MetricsListen = 127.0.0.1:9586: cannot listen (Address already in use)' \
	"$dir/gateway.log") $(wc -l <"$dir/gateway.log")" = "1 1"
check "and leaves nothing behind" nothing_left gateway
stop other || true

# --- what only a gateway of a cluster has ----------------------------------------------------------------------------

gateway_config "ClusterNode = gw1"
sed -i '/^\[Peer\]/,$d' "$dir/gateway.conf"
gateway_start
wait_for 30 listens gateway tcp 9586
check "a scrape of a gateway of a cluster" scrape cluster
stop gateway || true

# --- a scrape --------------------------------------------------------------------------------------------------------

gateway_config "Workers = 2" "StageSampling = 8" "Forward = yes"
gateway_start
client_config "MetricsListen = unix:client.metrics"
client_start
wait_for 30 listens gateway tcp 9586

start server gateway iperf3 --server
wait_for 30 listens gateway tcp 5201
start load client iperf3 --client 10.8.0.1 --bidir --time 300 --connect-timeout 30000
sed "s|scrape_interval: 15s|scrape_interval: 1s|; s|shardtun.rules.yml|$(realpath "$config/prometheus/shardtun.rules.yml")|" \
	"$config/prometheus/prometheus.yml" >"$dir/prometheus.yml"
start prometheus gateway prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/prometheus" \
	--web.listen-address=127.0.0.1:9090 --log.level=warn

promtool_is_silent() { # FILE
	local output
	output=$(ns gateway promtool check metrics <"$dir/$1" 2>&1) && [[ -z $output ]] || {
		echo "$output"
		return 1
	}
}

has_header() { # PATH LINE
	metrics headers "$url$1" | tr -d '\r' | grep -x "$2"
}

carries_load() {
	[[ $(scraped shardtun_tun_tx_bytes_total) -gt $1 && $(scraped shardtun_tun_rx_bytes_total) -gt $1 ]]
}

check "there is load, and the metrics know" wait_for 30 carries_load 50000000
check "a scrape" scrape first
check "promtool has nothing to say about it" promtool_is_silent first
check "nor about that of a cluster" promtool_is_silent cluster
check "its type is that of Prometheus' text format" has_header /metrics "Content-Type: text/plain; version=0.0.4; charset=utf-8"
check "the page has a policy" has_header / "Content-Security-Policy: default-src 'none'; .*"
check "the gateway is alive" metrics get "$url/healthz"
check "the gateway is ready" metrics get "$url/readyz"
check "there is nothing else" has_header /other 404
check "a name that somebody made lead here is not answered" grep -q "^HTTP/1.1 421" <(ns gateway bash -c \
	'exec 3<>/dev/tcp/127.0.0.1/9586; printf "GET /metrics HTTP/1.1\r\nHost: evil.example:9586\r\nConnection: close\r\n\r\n" >&3; cat <&3')
# Those of an agent, too, which answers without a gateway.
printf '[Agent]\nNode = a\nInside = 10.9.0.1:5556\nState = %s/agent\nMetricsListen = 127.0.0.1:9587\n[Etcd]\nEndpoints = http://127.0.0.1:2379\n' \
	"$dir" >"$dir/agent.conf"
start etcd gateway etcd --data-dir "$dir/etcd" --listen-client-urls http://127.0.0.1:2379 \
	--advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
start agent gateway "$BUILD/shardtun-agent" -c "$dir/agent.conf"
agent_has_read() {
	metrics get http://127.0.0.1:9587/metrics >"$dir/agent.metrics" && grep -q "^shardtun_agent_read_age_seconds" "$dir/agent.metrics"
}
check "an agent has metrics" wait_for 30 agent_has_read
check "that Prometheus can read" promtool check metrics <"$dir/agent.metrics"
stop agent || true
stop etcd || true
cat "$dir/first" "$dir/cluster" "$dir/agent.metrics" >"$dir/all"
check "the dashboard names metrics that are there" metrics names "$dir/all" "$config/grafana/shardtun.json"
check "so do the alerts" metrics names "$dir/all" "$config/prometheus/shardtun.rules.yml"
check "the allocator's figures are there" test "$(metrics figure "$dir/first" shardtun_heap_allocated_bytes)" -gt 100000
check "there is one session" test "$(metrics figure "$dir/first" shardtun_sessions_active)" -eq 1
check "nothing is said of it alone" test -z "$(grep -F -e 10.8.0.2 -e "$(public_key client)" "$dir/first")"

client_says() {
	ns client python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
print(b"".join(iter(lambda: s.recv(65536), b"")).decode())' "$dir/client.metrics" | grep -x "$1"
}
check "a client has metrics too, on a Unix socket" client_says 'shardtun_handshakes_total{outcome="accepted"} 1'

# --- Prometheus ------------------------------------------------------------------------------------------------------

prometheus_says() { # EXPRESSION
	metrics query "$prometheus" "$1"
}

check "Prometheus scrapes the gateway under load" wait_for 30 prometheus_says 'rate(shardtun_tun_tx_bytes_total[10s]) > 1e6'
check "and knows its stages" wait_for 30 prometheus_says \
	'histogram_quantile(0.99, sum by (stage, le) (rate(shardtun_stage_duration_seconds_bucket{stage="open"}[10s]))) > 0'
check_fails "no alert says that the gateway is down" prometheus_says 'ALERTS{alertname="ShardtunDown"}'

# --- eager and slow scrapers -----------------------------------------------------------------------------------------

metrics_thread_time() { # ns of CPU time
	local task
	for task in /proc/"${started[gateway]}"/task/*; do
		[[ $(<"$task/comm") != metrics ]] || cut -d ' ' -f 1 "$task/schedstat"
	done
}

before=$(metrics_thread_time) since=${EPOCHREALTIME/[.,]/}
check "fifty scrapes in a row" metrics many "$url/metrics" 50
spent=$((($(metrics_thread_time) - before) / 1000)) took=$((${EPOCHREALTIME/[.,]/} - since))
check "took the gateway's thread less than a twentieth of a CPU: $spent of $took us" test $((20 * spent)) -lt "$took"
heap=$(scraped shardtun_heap_allocated_bytes)
resident=$(scraped process_resident_memory_bytes)
descriptors=$(scraped process_open_fds)
moved=$(scraped shardtun_tun_tx_bytes_total)
start slow gateway "$tests_dir/tools/metrics.py" slow 127.0.0.1 9586 60
check "the slow ones are there, and some had to go" wait_for 30 grep -q '^[1-9][0-9]* thrown out' "$dir/slow.log"
check "fifty scrapes in a row beside sixty slow ones" metrics many "$url/metrics" 50
check "traffic goes on meanwhile" wait_for 30 carries_load $((moved + 50000000))
# 32 connections with an answer each, and the answer that is made.
grown=$((($(scraped shardtun_heap_allocated_bytes) - heap) / 1024))
check "they take less than 8 MiB: $grown KiB" test "$grown" -lt 8192
# With what the data path touches for the first time meanwhile.
grown=$((($(scraped process_resident_memory_bytes) - resident) / 1024))
check "the process did not grow by more than 64 MiB: $grown KiB" test "$grown" -lt 65536
more=$(($(scraped process_open_fds) - descriptors))
check "nor are there more than 40 more descriptors: $more" test "$more" -le 40
stop slow || true

# --- the same quantiles ----------------------------------------------------------------------------------------------

stop load || true
stop server || true

agrees() {
	ctl --json stages >"$dir/stages.json"
	metrics agrees "$prometheus" "$dir/stages.json"
}
check "histogram_quantile gives what shardtunctl stages says, to a bucket" wait_for 60 agrees

stop prometheus || true
both_stop
check_fails "nobody listens any more" listens gateway tcp 9586
check "the client's socket is gone" test ! -e "$dir/client.metrics"

done_testing
