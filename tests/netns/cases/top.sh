#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shardtunctl top in a real terminal (tmux): the busiest sessions and their rates, sorting, filter, pause, another size of the terminal,
# and the terminal as it was after q, ^C and SIGTERM. Also top --batch, stages --diff and record, against known traffic.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/two_clients.sh
. "$(dirname "$0")/../lib/two_clients.sh"

# --- the terminal ---

tmux_() { # ARGUMENT...
	tmux -S "$dir/tmux" -f /dev/null "$@"
}

screen() {
	tmux_ capture-pane -p
}

shows() { # PATTERN
	screen | grep -E -- "$1" >/dev/null || {
		screen
		return 1
	}
}

shows_not() { # PATTERN
	! shows "$1"
}

keys() { # KEY...
	tmux_ send-keys "$@"
}

runs_in_terminal() { # COMMAND
	[[ $(tmux_ display-message -p '#{pane_current_command}') == "$1" ]]
}

# The shell says what the terminal is set to before and after.
top_up() { # ARGUMENT...
	rm -f "$dir/before" "$dir/after"
	keys "clear; stty -g >$dir/before; $BUILD/shardtunctl --socket $dir/gateway.sock top $*" Enter
	wait_for 30 shows "q quit"
}

# Not on the same line as top: a shell that is at a terminal leaves that when ^C ended a part of it.
top_ended() { # STATUS
	wait_for 30 runs_in_terminal bash || return 1
	keys "echo ended \$?; stty -g >$dir/after" Enter
	wait_for 30 shows "^ended $1\$" || {
		screen
		return 1
	}
	wait_for 30 test -s "$dir/after" || return 1
	cmp "$dir/before" "$dir/after" && [[ $(tmux_ display-message -p '#{alternate_on} #{cursor_flag}') == "0 1" ]]
}

top_pid() {
	pgrep -f "^$BUILD/shardtunctl --socket $dir/gateway.sock top"
}

# --- figures ---

# Of `top -b --json -n 1`: what the Python expression over s, the list of sessions, and status says.
top_says() { # EXPRESSION [ARGUMENT...]
	local expression=$1
	shift
	ctl --json top --batch --times 1 "$@" | python3 -c '
import json, sys
answer = json.load(sys.stdin)
s, status = answer["top"]["sessions"], answer["status"]
print(answer["top"])
sys.exit(not eval("(" + sys.argv[1] + ")"))' "$expression"
}

# Of `stages --json`: what the Python expression over s, the stages by name, and r, the report, says.
stages_say() { # EXPRESSION ARGUMENT...
	local expression=$1
	shift
	ctl --json stages "$@" | python3 -c '
import json, sys
r = json.load(sys.stdin)
s = {stage["stage"]: stage for stage in r["stages"]}
print({name: (stage["count"], stage["ns"]) for name, stage in s.items()})
sys.exit(not eval("(" + sys.argv[1] + ")"))' "$expression"
}

# In the last interval, where all was timed.
queues_shown() {
	ctl top -b -n 2 --interval 1 | grep -E '^worker [01]( +[0-9.]+ [num]s){4} '
}

topology_up
command -v tmux >/dev/null || skip_all "needs tmux"
second_up
two_clients_start 10.8.0.0/16 "Workers = 2" "TunReaders = 1" "StageSampling = 1"
key=$(public_key client)
other=$(public_key second)
first=${key:0:20} last=${other:0:20}
# As patterns: base64 has a plus.
first_row="^${first//+/[+]}" last_row="^${last//+/[+]}" short=${first:0:10}
short_row="^${short//+/[+]}"
# A hundred packets a second of 1028 bytes: 0.82 Mbit/s each way; and the other client ten.
start ping client ping -q -n -i 0.01 -s 1000 10.8.0.1
start slow second ping -q -n -i 0.1 -s 1000 10.8.0.1

# --- batch ---
busy='s[0]["peer"] == "'$key'" and 3e5 < s[0]["rx_bits_per_second"] < 1.2e6 and 30 < s[0]["tx_packets_per_second"] < 150'
check "the busiest session comes first, with its rates" wait_for 30 top_says "$busy and len(s) == 2"
check "sorted by age: who came first" top_says 's[0]["peer"] == "'"$key"'" and s[1]["peer"] == "'"$other"'"' --sort age
check "as many as wanted" top_says 'len(s) == 1' --count 1
check "plain text" grep -qE "$first_row.* 10\.8\.0\.[0-9]+ +192\.0\.2\.2:[0-9]+ " <(ctl top -b -n 1)
check "of each worker, its traffic and its queues" test "$(ctl top -b -n 2 --interval 0.2 | grep -c '^worker [01] ')" -eq 8
check "how long packets waited in sockets and rings" wait_for 30 queues_shown
check "as JSON, too" wait_for 30 top_says 'any(t["socket_wait"]["count"] > 0 and t["socket_wait"]["p50_ns"] > 0 for t in status["threads"])'
check "only those that a filter lets through" test "$(ctl top -b -n 1 --filter 203.0.113.2 | grep -c ' 10\.8\.0\.')" -eq 1
check "of a client its threads" grep -q '^worker 0 ' <("$BUILD/shardtunctl" --socket "$dir/client.sock" top -b -n 1)
check_fails "no terminal" ctl top

# --- live ---
# A shell of its own, for its settings to be restored to; wide enough for all columns.
tmux_ new-session -d -x 150 -y 24 "env PS1='$ ' TERM=screen-256color bash --norc"
top_up
check "top shows the session in a terminal" wait_for 30 shows "$first_row.* 10\.8\.0\.[0-9]+ +192\.0\.2\.2:[0-9]+ +[0-9.]+ k "
check "with the other one below" test "$(screen | grep -E "$first_row|$last_row" | cut -c 1-20)" = "$first"$'\n'"$last"
check "and the threads" wait_for 30 shows "^worker 1 "
check "and the queues of the workers" wait_for 30 shows "^queues +sock p50 +sock p99 "
check "and what it is sorted by" wait_for 30 shows "by bits"
keys a
check "a key sorts by age" wait_for 30 shows "by age"
keys /
keys -l "203.0.113.2"
check "a filter is typed" wait_for 30 shows "filter: 203\.0\.113\.2"
keys Enter
check "and holds" wait_for 30 shows_not "$first_row"
check "for those it lets through" wait_for 30 shows "$last_row"
keys / C-h C-h C-h C-h C-h C-h C-h C-h C-h C-h C-h Enter
check "it is taken back" wait_for 30 shows "$first_row"
keys h
check "there is help" wait_for 30 shows "Sessions are sorted by"
keys h
keys Space
check "it pauses" wait_for 30 shows "PAUSED"
keys Space
tmux_ resize-window -x 60 -y 12
check "in a smaller terminal who and how much stays" wait_for 30 shows "${short_row}[^ ]* .* [0-9.]+ k "
check "and not the queues" shows_not "^queues "
check "and no line is too long" test "$(screen | awk '{ if (length($0) > 60) bad++ } END { print bad + 0 }')" -eq 0
tmux_ resize-window -x 150 -y 24
check "and all comes back" wait_for 30 shows "192\.0\.2\.2:[0-9]+"
keys q
check "q ends it and gives the terminal back" top_ended 0
top_up --interval 0.2
keys C-c
check "so does ^C" top_ended 130
top_up
kill -TERM "$(top_pid)"
check "so does SIGTERM" top_ended 143
tmux_ kill-server

# --- stages ---
check "stages of a time between show what came in it" wait_for 60 stages_say '20 < s["open"]["count"] < 400
	and 20 < s["seal"]["count"] < 400 and r["since_seconds"] > 0' --diff 1
stop ping || true
stop slow || true
sum_of='sum(stage["count"] for stage in r["stages"] if stage["stage"] in ("open", "seal"))'
# Again, should a packet be on its way yet, or a KEEPALIVE come between.
nothing_between() {
	ctl stages --raw >"$dir/a.json"
	ctl stages --raw >"$dir/b.json"
	stages_say "$sum_of == 0" --diff "$dir/a.json" "$dir/b.json"
}
check "nothing came between" wait_for 30 nothing_between
exactly_25() {
	ctl stages --raw >"$dir/a.json"
	answers client 10.8.0.1 -c 25 -i 0.01 || return
	ctl stages --raw >"$dir/b.json"
	stages_say 's["open"]["count"] == 25 and s["seal"]["count"] == 25 and s["residence_up"]["count"] == 25
		and s["residence_down"]["count"] == 25' --diff "$dir/a.json" "$dir/b.json"
}
check "25 packets are 25 opened and sealed since, and 25 that came through" wait_for 60 exactly_25
# Each packet's way is longer than each part of it.
check "residence has all of it" stages_say 's["residence_down"]["ns"]["sum"] > s["ring_wait"]["ns"]["sum"]
	+ s["seal"]["ns"]["sum"] and s["residence_up"]["ns"]["sum"] > s["open"]["ns"]["sum"] + s["tun_write"]["ns"]["sum"]
	and s["ring_wait"]["count"] == 25' --diff "$dir/a.json" "$dir/b.json"
check_fails "the wrong way round" ctl stages --diff "$dir/b.json" "$dir/gateway.conf"
check "as a table" grep -qE "^Between [0-9.]+ and [0-9.]+ s of the daemon's life: Every batch" <(ctl stages --diff "$dir/a.json")

# --- sampling at run time ---
check "timing is switched off" ctl stages --sampling 0
ctl stages --raw >"$dir/a.json"
check "packets come through all the same" answers client 10.8.0.1 -c 10 -i 0.01
check "and none is timed" stages_say "$sum_of == 0 and r['sampling'] == 0" --diff "$dir/a.json"
check "and on again" ctl stages --sampling 1
all_timed() {
	ctl stages --raw >"$dir/a.json"
	answers client 10.8.0.1 -c 10 -i 0.01 || return
	stages_say 's["seal"]["count"] == 10 and r["sampling"] == 1' --diff "$dir/a.json"
}
check "packets come through, and all are timed" wait_for 60 all_timed
check_fails "no such sampling" ctl stages --sampling 1000001
check_fails "nor this" ctl stages --sampling often

# --- record ---
ctl record --interval 0.1 --times 3 >"$dir/record.jsonl"
check "a recording has a line for each time" test "$(wc -l <"$dir/record.jsonl")" -eq 3
check "and recording.py draws it" "$tests_dir/../../perf/plot/recording.py" "$dir/record.jsonl" --output "$dir/report"
check "as SVG" python3 -c 'import sys, xml.dom.minidom
for name in sys.argv[1:]: assert xml.dom.minidom.parse(name).documentElement.tagName == "svg", name' "$dir"/report/*.svg

stop second
both_stop
done_testing
