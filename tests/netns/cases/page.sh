#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The status page in a real browser, under load: live numbers, light and dark, on a desk and on a phone, without an
# error in the console or a request to another host.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

browser_here() {
	command -v chromium-headless-shell || command -v chromium
}

browser_here >/dev/null || skip_all "needs Chromium: config/install-packages monitor"

topology_up
gateway_config "Workers = 2" "TunReaders = 1" "Reset = no"
gateway_start
client_config
client_start
# A drop to see: DATA for an unknown session.
ns client bash -c 'printf "\x14\xff\xff\xff\xff%032d" 0 >/dev/udp/192.0.2.1/5555'

start server gateway iperf3 --server
wait_for 30 listens gateway tcp 5201
start load client iperf3 --client 10.8.0.1 --bidir --time 300 --connect-timeout 30000
wait_for 30 running load

check "the page is right under load" ns gateway "$tests_dir/tools/page.py" http://127.0.0.1:9586/ "$dir"
for shot in page-{desktop,phone}-{light,dark}.png; do
	check "there is a screenshot: $shot" test "$(stat -c %s "$dir/$shot" || echo 0)" -gt 20000
done
# For people: PAGE_SHOTS=directory keeps them.
[[ -z ${PAGE_SHOTS:-} ]] || cp "$dir"/page-*.png "$PAGE_SHOTS"

stop load || true
stop server || true
both_stop

done_testing
