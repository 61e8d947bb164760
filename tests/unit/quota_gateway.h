// SPDX-License-Identifier: Apache-2.0
/* A gateway's quotas with a clock that the test moves; it plays handshake threads and workers. */
#pragma once

#include "core/gateway/quota.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PEERS = 8, LIMITED_MAX = 8 };
#define MEGA   (1024ull * 1024)
#define DAY_NS (86400 * NS_PER_S)
/* 2026-11-29, a Sunday, at noon. */
#define NOON   (20786 * DAY_NS + DAY_NS / 2)

static struct registry registry;
static struct quota quota;
static struct event_queue events;
static struct session_ender ender;
static size_t limited;			      /* sessions whose worker was told */
static char directory[64], own[72], path[96]; /* `path` is in `own`, that in `directory` */

static struct {
	struct clock base;
	uint64_t wall, monotonic;
} manual;

static inline uint64_t read_wall(const struct clock *clock)
{
	(void)clock;
	return manual.wall;
}

static inline uint64_t read_monotonic(const struct clock *clock)
{
	(void)clock;
	return manual.monotonic;
}

static inline void note_limit(void *context, uint32_t session_id)
{
	(void)context, (void)session_id;
	limited++;
}

static inline const uint8_t *key_of(size_t peer)
{
	static uint8_t keys[PEERS][KEY_SIZE];
	memset(keys[peer], (int)peer + 1, KEY_SIZE);
	return keys[peer];
}

static inline struct peer *peer_of(size_t peer)
{
	struct peer *found = peers_find(&registry.peers, key_of(peer));
	cr_assert_not_null(found);
	return found;
}

static inline void add_peer(size_t peer, uint64_t bytes, enum calendar_period period)
{
	static const uint8_t psk[KEY_SIZE];
	const struct registry_peer from = {
		.public_key = key_of(peer), .preshared_key = psk, .limits = {.quota = bytes, .period = period}};
	cr_assert_eq(registry_add_peer(&registry, &from, NULL), 0);
}

static inline void remove_peer(size_t peer)
{
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&registry, key_of(peer), ids));
	rcu_offline();
	rcu_after_readers_barrier();
	rcu_online();
}

/* A session that comes, moves so many bytes, and goes. */
static inline void use(size_t peer, uint64_t bytes)
{
	struct wire_hello hello = {0};
	struct registry_grant grant;
	static uint64_t cookie;
	cookie += NS_PER_S;
	const struct registry_request request = {.hello = &hello, .cookie = cookie, .now = cookie};
	cr_assert_eq(registry_begin(&registry, peer_of(peer), &request, &grant), DROP_NONE);
	struct usage *usage = peer_usage(peer_of(peer));
	cr_assert_not_null(usage);
	atomic_fetch_add(&usage->used, bytes);
	registry_abandon(&registry, &grant);
}

static inline uint64_t used(size_t peer)
{
	const struct usage *usage = peer_usage(peer_of(peer));
	return usage != NULL ? atomic_load(&usage->used) : 0;
}

static inline void boot(void)
{
	struct ip_prefix pool;
	const struct registry_params params = {
		.addresses = &pool, .address_count = 1, .max_sessions = 64, .workers = 1, .expected_peers = PEERS};
	cr_assert(ip_prefix_parse("10.8.0.1/24", &pool));
	cr_assert_eq(registry_init(&registry, &params, NULL), 0);
}

static inline int try_open(struct error *error)
{
	const struct quota_params params = {
		.registry = &registry, .clock = &manual.base, .ender = &ender, .path = path, .events = &events};
	return quota_open(&quota, &params, error);
}

static inline void open_quota(void)
{
	struct error error = {0};
	cr_assert_eq(try_open(&error), 0, "%s", error.text);
}

/* One peer with 10 MiB in a period. */
static inline void start(enum calendar_period period)
{
	manual.base = (struct clock){.wall = read_wall, .monotonic = read_monotonic};
	manual.wall = NOON;
	manual.monotonic = 1000 * NS_PER_S;
	ender.limit = note_limit;
	cr_assert_eq(keys_init(NULL), 0);
	snprintf(directory, sizeof directory, "/tmp/test_quota.XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	snprintf(own, sizeof own, "%s/own", directory);
	snprintf(path, sizeof path, "%s/quota", own);
	cr_assert_eq(event_queue_init(&events), 0);
	rcu_join();
	boot();
	add_peer(0, 10 * MEGA, period);
	open_quota();
}

static inline void halt(void)
{
	quota_close(&quota);
	registry_deinit(&registry);
}

/* As when it is killed: nothing more is written. */
static inline void crash(void)
{
	quota_file_close(&quota.file);
	free(quota.slice);
	quota.slice = NULL;
	registry_deinit(&registry);
}

static inline void again(enum calendar_period period)
{
	boot();
	add_peer(0, 10 * MEGA, period);
	open_quota();
}

static inline void end(void)
{
	char command[128];
	halt();
	event_queue_deinit(&events);
	rcu_leave();
	snprintf(command, sizeof command, "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

/* The clocks go on. */
static inline void pass_s(uint64_t seconds)
{
	manual.wall += seconds * NS_PER_S;
	manual.monotonic += seconds * NS_PER_S;
	quota_step(&quota);
}

/* The wall clock is set. */
static inline void set_clock(uint64_t wall)
{
	manual.wall = wall;
	pass_s(1);
}

static inline size_t told(void)
{
	size_t count = 0;
	for (struct event *event; (event = event_take(&events)) != NULL; free(event))
		count += event->kind == EVENT_QUOTA;
	return count;
}

static inline char *content(void)
{
	static char text[16 * QUOTA_LINE];
	FILE *in = fopen(path, "r");
	cr_assert_not_null(in);
	text[fread(text, 1, sizeof text - 1, in)] = '\0';
	fclose(in);
	return text;
}

static inline void put_content(const char *text)
{
	FILE *out = fopen(path, "w");
	cr_assert_not_null(out);
	fputs(text, out);
	fclose(out);
}
