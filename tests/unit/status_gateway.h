// SPDX-License-Identifier: Apache-2.0
/* A gateway that exists only as a status_source, for the tests of what is said about one. */
#pragma once

#include "perf/export/status.h"

static struct stats stats[2];
static struct stage_recorder recorders[2];

static const struct status_cluster status_cluster = {.node = "gw1",
						     .blocks = 85,
						     .map_ipv4 = 170,
						     .map_ipv6 = 169,
						     .map_left_out = 7,
						     .fences = 2,
						     .malformed = 3,
						     .forged = 4,
						     .late = 5,
						     .repeated = 6};

/* Two workers, whose counters and histograms those above are, and a reader that has none. */
static inline struct status_source gateway(void)
{
	static const struct status_thread threads[] = {
		{.name = "worker 0",
		 .cpu = 3,
		 .cpus = "3",
		 .policy = "other",
		 .nice = -10,
		 .slice = 100 * NS_PER_US,
		 .load = 0.25,
		 .cpu_time = 1500 * NS_PER_MS,
		 .allocated = 4096,
		 .stats = &stats[0],
		 .stages = &recorders[0]},
		{.name = "worker 1", .cpu = -1, .allocated = -1, .stats = &stats[1], .stages = &recorders[1]},
		{.name = "reader 0", .cpu = 0},
	};
	static const char *const addresses[] = {"10.8.0.1/16", "fd00:8::1/64"};
	static const char *const listens[] = {"[::]:5555"};
	static const struct status_offload offloads[] = {{"tun_tso", true}, {"tun_uso", false}};
	static const struct status_kept kept[] = {
		{.label = "route", .wanted = true, .in_force = true, .restored = 3},
		{.label = "nftables", .wanted = true, .trouble = "Operation not permitted"},
		{.label = "sysctl", .restored = 1},
	};
	static const struct status_suite suites[] = {{"AES-256-GCM", "ipsec-mb/avx2"}};
	return (struct status_source){
		.role = "gateway",
		.uptime = 7384 * NS_PER_S + 999,
		.interface = "shardtun0",
		.mtu = 1420,
		.interface_drops = {.tx = 19, .rx = 20},
		.addresses = addresses,
		.address_count = ARRAY_SIZE(addresses),
		.listen = listens,
		.listen_count = ARRAY_SIZE(listens),
		.threads = threads,
		.thread_count = ARRAY_SIZE(threads),
		.offloads = offloads,
		.offload_count = ARRAY_SIZE(offloads),
		.kept = kept,
		.kept_count = ARRAY_SIZE(kept),
		.suites = suites,
		.suite_count = ARRAY_SIZE(suites),
		.sessions = {.active = 2, .wireguard = 1, .max = 65536},
		.pool = {.used = 5, .size = 65533},
		.quotas = {.peers = 4, .over = 1},
		.takeover = {.wait = 12345600, .sessions = 5},
		.peers = {.shardtun = 7, .wireguard = 3},
		.cluster = status_cluster,
		.udp = {.receive_buffer = 212992,
			.send_buffer = 4194304,
			.wanted_buffer = 4194304,
			.queue_overflows = 17},
		.log_dropped = 18,
		.tsc = {.hz = 2e9, .invariant = true},
		.stage_sampling = 64,
	};
}
