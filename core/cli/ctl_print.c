// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/cli/ctl_text.h"

void ctl_print_json(FILE *out, const json_t *result)
{
	json_dumpf(result, out, JSON_INDENT(2) | JSON_REAL_PRECISION(10) | JSON_ENCODE_ANY);
	fputc('\n', out);
}

/* --- status ------------------------------------------------------------------------------------------------------- */

/* Starts a line with a label; the caller ends it. */
static void PRINTF_LIKE(3, 4) begin_field(FILE *out, const char *label, const char *format, ...)
{
	fprintf(out, "  %-12s", label);
	va_list args;
	va_start(args, format);
	vfprintf(out, format, args);
	va_end(args);
}

static void print_interface(FILE *out, const json_t *interface)
{
	size_t i;
	json_t *address;
	begin_field(out, "interface", "%s, MTU %" PRIu64, ctl_text(interface, "name"), ctl_number(interface, "mtu"));
	json_array_foreach (json_object_get(interface, "addresses"), i, address)
		fprintf(out, ", %s", ctl_text_of(address));
	fputc('\n', out);
}

static void print_listen(FILE *out, const json_t *listen)
{
	size_t i;
	json_t *address;
	json_array_foreach (listen, i, address)
		begin_field(out, i == 0 ? "listening" : "", "%s\n", ctl_text_of(address));
}

static void print_sessions(FILE *out, const json_t *status)
{
	const json_t *sessions = json_object_get(status, "sessions");
	begin_field(out, "sessions", "%" PRIu64, ctl_number(sessions, "active"));
	if (json_object_get(sessions, "max") != NULL)
		fprintf(out, " of %" PRIu64, ctl_number(sessions, "max"));

	if (json_object_get(sessions, "wireguard") != NULL)
		fprintf(out, ", %" PRIu64 " of them WireGuard's", ctl_number(sessions, "wireguard"));

	static const char *const events[][2] = {
		{"sessions_started", "started"}, {"sessions_ended", "ended"}, {"rekeys", "rekeys"}, {"roams", "roams"}};
	char text[CTL_NUMBER_MAX];
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		fprintf(out, "%s%s %s", i == 0 ? "; " : ", ",
			ctl_count(text, ctl_number(json_object_get(status, "counters"), events[i][0])), events[i][1]);
	fputc('\n', out);

	const json_t *pool = json_object_get(status, "pool");
	if (pool != NULL)
		begin_field(out, "addresses", "%" PRIu64 " of %" PRIu64 " in use\n", ctl_number(pool, "used"),
			    ctl_number(pool, "size"));
	const json_t *peers = json_object_get(status, "peers");
	if (ctl_number(peers, "wireguard") != 0)
		begin_field(out, "peers", "%" PRIu64 " shardtun, %" PRIu64 " WireGuard\n",
			    ctl_number(peers, "shardtun"), ctl_number(peers, "wireguard"));
}

/* What the daemon set up on the machine: first what is not in force, each with the reason. */
static void print_kept(FILE *out, json_t *kept)
{
	const char *what, *label = "set up";
	json_t *one;
	json_object_foreach (kept, what, one) {
		if (!json_is_false(json_object_get(one, "in_force")))
			continue;
		begin_field(out, label, "%s NOT in force: %s\n", what, ctl_text(one, "trouble"));
		label = "";
	}
	const char *lead = "in force: ";
	json_object_foreach (kept, what, one) {
		uint64_t restored = ctl_number(one, "restored");
		if (!json_is_true(json_object_get(one, "in_force")))
			continue;
		if (label != NULL)
			begin_field(out, label, "%s%s", lead, what);
		else
			fprintf(out, "%s%s", lead, what);
		if (restored != 0)
			fprintf(out, " (put back %" PRIu64 " times)", restored);
		label = NULL;
		lead = ", ";
	}
	if (label == NULL)
		fputc('\n', out);
}

/* A gateway of several. */
static void print_cluster(FILE *out, const json_t *status)
{
	const json_t *cluster = json_object_get(status, "cluster"), *counters = json_object_get(status, "counters");
	if (cluster == NULL)
		return;
	begin_field(out, "cluster", "node %s; %" PRIu64 " blocks served here", ctl_text(cluster, "node"),
		    ctl_number(cluster, "blocks"));
	fprintf(out, "; HELLOs forwarded %" PRIu64 ", taken %" PRIu64 "\n", ctl_number(counters, "forwards_sent"),
		ctl_number(counters, "forwards_taken"));
}

static void print_suites(FILE *out, json_t *suites)
{
	const char *name, *label = "ciphers";
	json_t *backend;
	json_object_foreach (suites, name, backend) {
		begin_field(out, label, "%s (%s)\n", name, ctl_text_of(backend));
		label = "";
	}
}

static void print_offloads(FILE *out, json_t *offloads)
{
	for (int on = 1; on >= 0; on--) {
		const char *name, *lead = on ? "" : "not: ";
		json_t *state;
		bool any = false;
		json_object_foreach (offloads, name, state) {
			if (json_is_true(state) != on)
				continue;
			if (!any)
				begin_field(out, on ? "offloads" : "", "%s%s", lead, name);
			else
				fprintf(out, ", %s", name);
			any = true;
		}
		if (any)
			fputc('\n', out);
		else if (on)
			begin_field(out, "offloads", "none\n");
	}
}

static void print_udp(FILE *out, const json_t *udp)
{
	char text[CTL_NUMBER_MAX];
	uint64_t receive = ctl_number(udp, "receive_buffer"), sending = ctl_number(udp, "send_buffer");
	uint64_t wanted = ctl_number(udp, "wanted_buffer"), lost = ctl_number(udp, "queue_overflows");
	begin_field(out, "UDP buffers", "%s to receive", ctl_bytes(text, receive));
	fprintf(out, ", %s to send", ctl_bytes(text, sending));
	if (receive < wanted || sending < wanted)
		fprintf(out, " (wanted %s)", ctl_bytes(text, wanted));
	fputc('\n', out);
	if (lost != 0)
		begin_field(out, "",
			    "%s datagrams lost because the receive queue, or a client's share of it, was full\n",
			    ctl_count(text, lost));
}

/* What the interface lost, where no counter of ours sees it. */
static void print_interface_drops(FILE *out, const json_t *interface)
{
	char text[CTL_NUMBER_MAX];
	uint64_t unread = ctl_number(interface, "tx_dropped"), written = ctl_number(interface, "rx_dropped");
	const char *label = "interface";
	if (unread != 0) {
		begin_field(out, label, "%s packets dropped by the kernel before they could be read\n",
			    ctl_count(text, unread));
		label = "";
	}
	if (written != 0)
		begin_field(out, label, "%s packets dropped by the kernel that were written\n",
			    ctl_count(text, written));
}

static void print_log(FILE *out, const json_t *log)
{
	char text[CTL_NUMBER_MAX];
	uint64_t dropped = ctl_number(log, "lines_dropped");
	if (dropped != 0)
		begin_field(out, "log", "%s lines dropped because they were not read in time\n",
			    ctl_count(text, dropped));
}

/* Objects of plain values that have no printer of their own: those of one role, or of a newer daemon. */
static void print_additions(FILE *out, json_t *status)
{
	static const char *const known[] = {
		"version",  "role", "uptime_seconds", "interface", "listen", "sessions", "pool", "suites",
		"offloads", "udp",  "kept",	      "counters",  "drops",  "threads",	 "log",	 "cluster"};
	const char *label, *key;
	json_t *object, *value;
	json_object_foreach (status, label, object) {
		bool skip = !json_is_object(object);
		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			skip |= strcmp(label, known[i]) == 0;
		if (skip)
			continue;
		const char *lead = "";
		begin_field(out, label, "%s", "");
		json_object_foreach (object, key, value) {
			char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
			fprintf(out, "%s%s %s", lead, key, json_is_string(value) ? ctl_text_of(value) : text);
			free(text);
			lead = ", ";
		}
		fputc('\n', out);
	}
}

static void print_traffic(FILE *out, const json_t *counters)
{
	static const struct {
		const char *label, *packets, *bytes, *calls;
	} rows[] = {
		{"UDP received", "udp_rx_packets", "udp_rx_bytes", "udp_rx_calls"},
		{"UDP sent", "udp_tx_packets", "udp_tx_bytes", "udp_tx_calls"},
		{"TUN read", "tun_rx_packets", "tun_rx_bytes", "tun_rx_frames"},
		{"TUN written", "tun_tx_packets", "tun_tx_bytes", "tun_tx_frames"},
	};
	fprintf(out, "\n%-14s %12s %12s %12s %12s\n", "traffic", "packets", "bytes", "system calls", "packets/call");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char packets[CTL_NUMBER_MAX], bytes[CTL_NUMBER_MAX], calls[CTL_NUMBER_MAX];
		uint64_t packet_count = ctl_number(counters, rows[i].packets);
		uint64_t call_count = ctl_number(counters, rows[i].calls);
		fprintf(out, "  %-12s %12s %12s %12s", rows[i].label, ctl_count(packets, packet_count),
			ctl_bytes(bytes, ctl_number(counters, rows[i].bytes)), ctl_count(calls, call_count));
		if (call_count != 0)
			fprintf(out, " %12.1f\n", (double)packet_count / (double)call_count);
		else
			fprintf(out, " %12s\n", "-");
	}
}

/* All system calls of the data path for each packet carried: also those that found nothing, for sleep, and to yield. */
static void print_calls(FILE *out, const json_t *status)
{
	char packets[CTL_NUMBER_MAX], calls[CTL_NUMBER_MAX];
	uint64_t packet_count = ctl_number(status, "packets_carried"), call_count = ctl_number(status, "system_calls");
	if (call_count != 0)
		fprintf(out, "  %-12s %12s %12s %12s %12.1f\n", "carried", ctl_count(packets, packet_count), "",
			ctl_count(calls, call_count), (double)packet_count / (double)call_count);
}

static void print_threads(FILE *out, const json_t *threads)
{
	static const char *const columns[] = {"udp_rx_packets", "udp_tx_packets", "tun_rx_packets", "tun_tx_packets",
					      "sleeps"};
	size_t i;
	json_t *thread;
	fprintf(out, "\n%-14s %4s %5s %10s %10s %10s %10s %10s %10s\n", "threads", "CPU", "load", "UDP recv",
		"UDP sent", "TUN read", "TUN write", "sleeps", "dropped");
	json_array_foreach (threads, i, thread) {
		char text[CTL_NUMBER_MAX] = "any";
		const json_t *cpu = json_object_get(thread, "cpu");
		if (json_is_integer(cpu))
			snprintf(text, sizeof text, "%" PRIu64, ctl_number(thread, "cpu"));
		fprintf(out, "  %-12s %4s %4.0f%%", ctl_text(thread, "name"), text,
			100 * json_number_value(json_object_get(thread, "load")));
		for (size_t j = 0; j < ARRAY_SIZE(columns); j++)
			fprintf(out, " %10s",
				ctl_count(text, ctl_number(json_object_get(thread, "counters"), columns[j])));
		fprintf(out, " %10s\n",
			ctl_count(text, ctl_number(thread, "drops_uplink") + ctl_number(thread, "drops_downlink")));
	}
}

static void print_drops(FILE *out, const json_t *drops)
{
	size_t i;
	json_t *drop;
	bool any = false;
	json_array_foreach (drops, i, drop) {
		char text[CTL_NUMBER_MAX];
		if (ctl_number(drop, "count") == 0)
			continue;
		if (!any)
			fputs("\ndropped\n", out);
		any = true;
		fprintf(out, "  %-8s %-18s %10s  %s\n", ctl_text(drop, "direction"), ctl_text(drop, "reason"),
			ctl_count(text, ctl_number(drop, "count")), ctl_text(drop, "text"));
	}
	if (!any)
		fputs("\nnothing dropped\n", out);
}

void ctl_print_status(FILE *out, json_t *status)
{
	char uptime[CTL_NUMBER_MAX];
	fprintf(out, "%s, shardtun %s, up %s\n", ctl_text(status, "role"), ctl_text(status, "version"),
		ctl_duration(uptime, ctl_number(status, "uptime_seconds")));
	print_interface(out, json_object_get(status, "interface"));
	print_listen(out, json_object_get(status, "listen"));
	print_sessions(out, status);
	print_cluster(out, status);
	print_additions(out, status);
	print_kept(out, json_object_get(status, "kept"));
	print_suites(out, json_object_get(status, "suites"));
	print_offloads(out, json_object_get(status, "offloads"));
	print_udp(out, json_object_get(status, "udp"));
	print_interface_drops(out, json_object_get(status, "interface"));
	print_log(out, json_object_get(status, "log"));
	print_traffic(out, json_object_get(status, "counters"));
	print_calls(out, status);
	print_threads(out, json_object_get(status, "threads"));
	print_drops(out, json_object_get(status, "drops"));
}

/* --- stages ------------------------------------------------------------------------------------------------------- */

static const char *const stage_columns[] = {"p50", "p90", "p99", "p99.9", "max"};

/* In `unit`: "ns" or "cycles". */
static void print_stage(FILE *out, const json_t *stage, const char *unit)
{
	char text[CTL_NUMBER_MAX];
	uint64_t count = ctl_number(stage, "count");
	fprintf(out, "%-15s %-12s %9s", ctl_text(stage, "stage"), ctl_text(stage, "unit"), ctl_count(text, count));
	if (count == 0) {
		fputc('\n', out);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(stage_columns); i++)
		fprintf(out, " %9.0f",
			json_number_value(json_object_get(json_object_get(stage, unit), stage_columns[i])));
	const json_t *share = json_object_get(stage, "share");
	if (json_is_real(share))
		fprintf(out, " %6.1f%%\n", json_real_value(share) * 100);
	else
		fprintf(out, " %7s\n", "-");
}

static void print_stage_table(FILE *out, const json_t *stages, const char *unit, const char *short_unit)
{
	size_t i;
	json_t *stage;
	fprintf(out, "\n%-15s %-12s %9s", "stage", "unit", "count");
	for (i = 0; i < ARRAY_SIZE(stage_columns); i++) {
		char title[CTL_NUMBER_MAX];
		(void)snprintf(title, sizeof title, "%s %s", stage_columns[i], short_unit);
		fprintf(out, " %9s", title);
	}
	fprintf(out, " %7s\n", "share");
	json_array_foreach (stages, i, stage)
		print_stage(out, stage, unit);
}

static void print_stage_times(FILE *out, const json_t *report)
{
	uint64_t sampling = ctl_number(report, "sampling");
	const json_t *since = json_object_get(report, "since_seconds");
	if (since != NULL)
		fprintf(out, "Between %.1f and %.1f s of the daemon's life: ", json_number_value(since),
			json_number_value(json_object_get(report, "uptime_seconds")));
	if (sampling == 1)
		fputs("Every batch is timed", out);
	else
		fprintf(out, "One batch in %" PRIu64 " is timed", sampling);
	if (json_is_true(json_object_get(report, "tsc_invariant")))
		fprintf(out, "; the time stamp counter runs at %.1f MHz.\n",
			json_number_value(json_object_get(report, "tsc_hz")) / 1e6);
	else
		fputs("; by the clock, in ns for cycles: this CPU has no time stamp counter that runs at one rate.\n",
		      out);
}

void ctl_print_stages(FILE *out, json_t *report)
{
	if (ctl_number(report, "sampling") == 0) {
		fputs("Stages are not timed: StageSampling is 0, or the daemon was built with PROFILE=0.\n", out);
		return;
	}
	print_stage_times(out, report);
	const json_t *stages = json_object_get(report, "stages");
	print_stage_table(out, stages, "ns", "ns");
	print_stage_table(out, stages, "cycles", "cyc");
}

/* --- other commands ----------------------------------------------------------------------------------------------- */

void ctl_print_kick(FILE *out, json_t *result)
{
	size_t i;
	json_t *id;
	json_array_foreach (json_object_get(result, "kicked"), i, id)
		fprintf(out, "session %s is ended\n", ctl_text_of(id));
}

/* "1-3,7": they ascend. */
static void print_ranges(FILE *out, const json_t *blocks)
{
	size_t count = json_array_size(blocks);
	for (size_t i = 0; i < count; i++) {
		json_int_t first = json_integer_value(json_array_get(blocks, i)), last = first;
		fprintf(out, "%s%lld", i != 0 ? "," : "", (long long)first);
		while (i + 1 < count && json_integer_value(json_array_get(blocks, i + 1)) == last + 1)
			last++, i++;
		if (last != first)
			fprintf(out, "-%lld", (long long)last);
	}
}

static void print_owners(FILE *out, const json_t *owners)
{
	size_t i;
	json_t *owner;
	json_array_foreach (owners, i, owner) {
		const char *address = ctl_text(owner, "address");
		bool ipv6 = strchr(address, ':') != NULL;
		fprintf(out, "%s%s%s", ipv6 ? "[" : "", address, ipv6 ? "]" : "");
		if (json_object_get(owner, "port") != NULL)
			fprintf(out, ":%" PRIu64, ctl_number(owner, "port"));
		fputs(" owns ", out);
		print_ranges(out, json_object_get(owner, "blocks"));
		fputc('\n', out);
	}
}

void ctl_print_cluster(FILE *out, json_t *cluster)
{
	size_t i;
	json_t *block;
	const json_t *blocks = json_object_get(cluster, "blocks");
	fprintf(out,
		"node %s; %zu blocks of %" PRIu64 " addresses are served here; %" PRIu64 " times blocks were lost\n",
		ctl_text(cluster, "node"), json_array_size(blocks), ctl_number(cluster, "block_size"),
		ctl_number(cluster, "fences"));
	if (json_array_size(blocks) != 0)
		fputs("block  for ms  sessions\n", out);
	json_array_foreach (blocks, i, block)
		fprintf(out, "%5" PRIu64 "  %6" PRIu64 "  %8" PRIu64 "\n", ctl_number(block, "block"),
			ctl_number(block, "until_ms"), ctl_number(block, "sessions"));
	print_owners(out, json_object_get(cluster, "owners"));
}

void ctl_print_identity(FILE *out, json_t *identity)
{
	size_t i;
	json_t *network;
	fprintf(out, "public key  %s\n", ctl_text(identity, "public_key"));
	if (json_is_string(json_object_get(identity, "wireguard_public_key")))
		fprintf(out, "WireGuard's %s\n", ctl_text(identity, "wireguard_public_key"));
	fprintf(out, "UDP port    %" PRIu64 "\nendpoint    %s\nnetworks    ", ctl_number(identity, "port"),
		ctl_text(identity, "endpoint"));
	json_array_foreach (json_object_get(identity, "networks"), i, network)
		fprintf(out, "%s%s", i != 0 ? ", " : "", ctl_text_of(network));
	fprintf(out, "\npeers in    %s\n", ctl_text(identity, "peers_directory"));
}

void ctl_print_peer(FILE *out, json_t *result)
{
	const char *did;
	json_t *key;
	json_object_foreach (result, did, key) {
		if (json_is_string(key))
			fprintf(out, "peer %s is %s; the next reload follows the configuration file again\n",
				ctl_text_of(key), did);
	}
	size_t i;
	json_t *address;
	json_array_foreach (json_object_get(result, "addresses"), i, address)
		fprintf(out, "its address is %s\n", ctl_text_of(address));
}

void ctl_print_quota(FILE *out, json_t *result)
{
	fprintf(out, "peer %s starts at 0\n", ctl_text(result, "reset"));
}

void ctl_print_reload(FILE *out, json_t *result)
{
	size_t i;
	json_t *option;
	fprintf(out,
		"peers: %" PRIu64 " added, %" PRIu64 " removed, %" PRIu64 " changed, %" PRIu64 " as before; %" PRIu64
		" sessions ended\n",
		ctl_number(result, "added"), ctl_number(result, "removed"), ctl_number(result, "changed"),
		ctl_number(result, "unchanged"), ctl_number(result, "sessions_ended"));
	const json_t *restart = json_object_get(result, "needs_restart");
	json_array_foreach (restart, i, option)
		fprintf(out, "%s%s", i == 0 ? "needs a restart: " : ", ", ctl_text_of(option));
	if (json_array_size(restart) != 0)
		fputc('\n', out);
}
