// SPDX-License-Identifier: Apache-2.0
/* A hand-over of many sessions between two registries: how long it takes, and that each lack of memory or descriptors
 * on the way leaves the old one as it was. */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/unit/handover_fixture.h"

TestSuite(handover_many, .timeout = 120);

enum {
	MANY = 100000,
	SOME = 2000,
	STEP = 192 << 10, /* bytes by which a limit grows from attempt to attempt */
	ATTEMPTS = 1000,
};

#define BORN  (1000 * NS_PER_S)
#define MOVED (1001 * NS_PER_S)

struct pair {
	struct registry old, new;
	struct cookie_jar jar;
	struct aead_engine *engine;
	struct stats *totals;
	bool late; /* packets come late: all of each window is written again */
	double times[7];
	struct error error;
};

static double seconds(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void add_session(struct registry *registry, const uint8_t key[KEY_SIZE], const struct aead_engine *engine)
{
	struct wire_hello hello = {0};
	struct registry_grant grant;
	const struct registry_request request = {.hello = &hello, .cookie = BORN, .now = BORN};
	cr_assert_eq(registry_begin(registry, peers_find(&registry->peers, key), &request, &grant), DROP_NONE);
	struct noise_keys secrets = {0};
	struct transport_key *made = transport_key_new(engine, AEAD_CHACHA20_POLY1305, 1, &secrets, TRANSPORT_GATEWAY,
						       BORN);
	cr_assert(made != NULL && transport_key_wake(engine, made));
	grant.made->current = made;
	session_set_active(grant.made);
	session_table_insert(&registry->table, grant.made);
}

static void open_registry(struct registry *registry, uint32_t count, const struct aead_engine *engine)
{
	struct ip_prefix own;
	cr_assert(ip_prefix_parse("10.0.0.1/14", &own));
	const struct registry_params params = {
		.addresses = &own, .address_count = 1, .max_sessions = count, .workers = 4, .expected_peers = count};
	cr_assert_eq(registry_init(registry, &params, NULL), 0);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t key[KEY_SIZE] = {1}, none[KEY_SIZE] = {0};
		store_be32(key + 4, i);
		const struct registry_peer peer = {.public_key = key, .preshared_key = none};
		cr_assert_eq(registry_add_peer(registry, &peer, NULL), 0);
		if (engine != NULL)
			add_session(registry, key, engine);
	}
}

static void open_pair(struct pair *pair, uint32_t count)
{
	cr_assert_eq(keys_init(NULL), 0);
	rcu_join();
	pair->engine = aead_engine_new("auto", NULL);
	cookie_jar_init(&pair->jar);
	open_registry(&pair->old, count, pair->engine);
	open_registry(&pair->new, count, NULL);
	pair->totals = aligned_alloc(CACHE_LINE, sizeof *pair->totals);
	memset(pair->totals, 0, sizeof *pair->totals);
}

static uint32_t end_all(struct registry *registry)
{
	uint32_t count = 0;
	for (uint32_t slot = 0; slot <= registry->table.sharding.slot_mask; slot++) {
		struct session *session = rcu_read(&registry->table.slots[slot]);
		if (session == NULL)
			continue;
		session_table_remove(&registry->table, session);
		registry_retire(registry, session);
		count++;
	}
	return count;
}

static void close_pair(struct pair *pair, uint32_t count)
{
	cr_assert_eq(end_all(&pair->old), count);
	cr_assert_eq(end_all(&pair->new), count);
	registry_deinit(&pair->old);
	registry_deinit(&pair->new);
	free(pair->totals);
	aead_engine_free(pair->engine);
	rcu_leave();
}

/* A packet each way. */
static void move_all(struct registry *registry, bool late)
{
	for (uint32_t slot = 0; slot <= registry->table.sharding.slot_mask; slot++) {
		struct session *session = rcu_read(&registry->table.slots[slot]);
		if (session == NULL)
			continue;
		session->sent = session->received = MOVED;
		session->current->send_counter++;
		session->current->opened += late ? 2 : 1;
		(void)replay_accept(&session->current->live->replay, session->current->live->replay.next);
	}
}

static int read_both(struct pair *pair, struct handover_export *export, struct handover_import *import)
{
	static const struct stats_snapshot totals;
	const struct handover_now now = {.totals = &totals, .now = MOVED, .frozen = MOVED};
	const struct handover_target target = {.registry = &pair->new,
					       .engine = pair->engine,
					       .jar = &pair->jar,
					       .totals = pair->totals,
					       .now = MOVED};
	int result = handover_read(import, &export->memory, &target, &pair->error);
	if (result != 0)
		return result;
	pair->times[2] = seconds();
	handover_take_over(import, &target);
	move_all(&pair->old, pair->late);
	pair->times[3] = seconds();
	result = handover_export_moved(export, &now);
	pair->error = export->error;
	pair->times[4] = seconds();
	if (result == 0)
		result = handover_check_moved(import, MOVED, &pair->error);
	pair->times[5] = seconds();
	if (result == 0)
		handover_follow(import, &target);
	pair->times[6] = seconds();
	return result;
}

/* The whole of it; on failure nothing is left of it. */
static int hand_over_all(struct pair *pair)
{
	struct handover_export export;
	struct handover_import import = {0};
	pair->times[0] = seconds();
	int result = export_first(&export, &pair->old, &pair->jar, MOVED);
	pair->error = export.error;
	pair->times[1] = seconds();
	if (result == 0)
		result = read_both(pair, &export, &import);
	for (size_t i = 0; result == 0 && i < import.count; i++)
		session_table_insert(&pair->new.table, import.sessions[i].session);
	cr_assert(result != 0 || import.moved == import.count);
	handover_discard(&import);
	handover_export_end(&export, true);
	return result;
}

/* No promise, but a figure: the worst case, in which all keys are in use, and all sessions move. */
Test(handover_many, of_a_hundred_thousand_sessions)
{
	static struct pair pair;
	open_pair(&pair, MANY);
	cr_assert_eq(hand_over_all(&pair), 0, "%s", pair.error.text);
	cr_assert_eq(pair.new.pool.used, MANY);
	const double *at = pair.times;
	cr_log_info(
		"%d sessions: written in %.0f ms, read in %.0f ms, taken over in %.0f ms; when all moved: written in "
		"%.1f ms, checked in %.1f ms, followed in %.1f ms",
		MANY, 1e3 * (at[1] - at[0]), 1e3 * (at[2] - at[1]), 1e3 * (at[3] - at[2]), 1e3 * (at[4] - at[3]),
		1e3 * (at[5] - at[4]), 1e3 * (at[6] - at[5]));
	close_pair(&pair, MANY);
}

Test(handover_many, with_more_that_moved_than_is_usual)
{
	static struct pair pair = {.late = true};
	open_pair(&pair, SOME);
	cr_assert_eq(hand_over_all(&pair), 0, "%s", pair.error.text);
	close_pair(&pair, SOME);
}

/* --- what is not there -------------------------------------------------------------------------------------------- */

static bool is_as_before(const struct pair *pair)
{
	uint32_t taken = 0;
	for (uint32_t worker = 0; worker < pair->old.table.sharding.workers; worker++)
		taken += pair->old.table.workers[worker].taken;
	return taken == SOME && !pair->old.held && pair->old.pool.used == SOME && pair->new.pool.used == 0;
}

/* Raises a limit step by step, until all of it succeeds. Returns how many attempts failed. */
static unsigned fail_up_to(struct pair *pair, __rlimit_resource_t resource, rlim_t from, rlim_t step,
			   const char *const *texts, unsigned *seen)
{
	struct rlimit before;
	int result = -1;
	unsigned failures;
	cr_assert_eq(getrlimit(resource, &before), 0);
	for (failures = 0; result != 0 && failures < ATTEMPTS; failures += result != 0) {
		const struct rlimit limit = {from + failures * step, before.rlim_max};
		cr_assert_eq(setrlimit(resource, &limit), 0);
		result = hand_over_all(pair);
		cr_assert_eq(setrlimit(resource, &before), 0);
		if (result == 0)
			break;
		cr_assert(is_as_before(pair), "%s", pair->error.text);
		bool said = false;
		for (unsigned i = 0; texts[i] != NULL; i++) {
			if (strstr(pair->error.text, texts[i]) != NULL) {
				said = true;
				*seen |= 1u << i;
			}
		}
		cr_assert(said, "%s", pair->error.text);
	}
	cr_assert_eq(result, 0, "%s", pair->error.text);
	return failures;
}

Test(handover_many, without_descriptors_or_room_in_files)
{
	static const char *const texts[] = {"memory: cannot create it", "memory: cannot size it",
					    "memory: there is not enough", NULL};
	static struct pair pair;
	unsigned seen = 0;
	signal(SIGXFSZ, SIG_IGN);
	open_pair(&pair, SOME);
	struct rlimit files, none;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	none = (struct rlimit){0, files.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	int result = hand_over_all(&pair);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	cr_assert_eq(result, -EMFILE);
	cr_assert(is_as_before(&pair) && strstr(pair.error.text, texts[0]) != NULL, "%s", pair.error.text);
	cr_assert_geq(fail_up_to(&pair, RLIMIT_FSIZE, 0, STEP, texts, &seen), 10);
	cr_assert_eq(seen & 6, 6, "each of them: %x", seen);
	close_pair(&pair, SOME);
}

#ifndef SHARDTUN_SANITIZED
static rlim_t address_space(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	cr_assert(file != NULL && fscanf(file, "%lu", &pages) == 1);
	(void)fclose(file);
	return pages * 4096;
}

/* Whatever needs memory in either process fails at one of the steps. */
Test(handover_many, without_memory)
{
	static const char *const texts[] = {"hand-over: out of memory", "memory: cannot map it",
					    "memory: there is not enough", ": out of memory", NULL};
	static struct pair pair;
	unsigned seen = 0;
	open_pair(&pair, SOME);
	unsigned failures = fail_up_to(&pair, RLIMIT_AS, address_space(), STEP, texts, &seen);
	cr_assert_geq(failures, 10);
	cr_assert_eq(seen & 3, 3, "each of them: %x", seen);
	close_pair(&pair, SOME);
}
#endif
