// SPDX-License-Identifier: Apache-2.0
/* Many clients of both protocols on one gateway of several workers: each gets what is its own and nothing else, while
 * they roam and renew their keys. */
#include "tests/unit/wireguard_unit.h"

TestSuite(wireguard_many, .timeout = 120);

enum { CLIENTS = 200, OWN = 16, WORKERS = 8, ROUNDS = 12 };

static struct wireguard *start(bool reader)
{
	struct harness_options options = {.clients = OWN,
					  .address4 = "10.8.0.1/22",
					  .max_sessions = 512,
					  .workers = WORKERS,
					  .handshakers = 2,
					  .reader = reader};
	struct wireguard *w = wg_unit_up(CLIENTS, options);
	cr_assert(harness_up(w->h));
	return w;
}

/* A packet to each comes to it alone, and one of each comes out as it was. */
static void exchange(struct wireguard *w)
{
	for (size_t i = 0; i < CLIENTS; i++)
		cr_assert(wg_pings(w, i), "WireGuard client %zu", i);
	for (size_t i = 0; i < OWN; i++)
		cr_assert(harness_ping(w->h, i, TO_GATEWAY) && harness_ping(w->h, i, TO_CLIENT), "our client %zu", i);
	for (size_t i = 0; i < CLIENTS; i++)
		cr_assert_eq(w->clients[i].refused, 0);
}

static void roam_and_renew(struct wireguard *w, struct random *random)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		char text[64];
		snprintf(text, sizeof text, "203.%u.113.%zu", random_below(random, 250), i + 1);
		if (random_chance(random, 40))
			wireguard_move(w, i, text, (uint16_t)(1024 + random_below(random, 60000)));
		if (random_chance(random, 50))
			cr_assert(wireguard_initiate(w, i));
	}
}

static void check_sharing(struct wireguard *w)
{
	unsigned least = CLIENTS;
	for (unsigned i = 0; i < WORKERS; i++) {
		unsigned count = harness_gateway_worker(w->h, i)->session_count;
		least = count < least ? count : least;
	}
	cr_assert_gt(least, CLIENTS / WORKERS / 2, "every worker has its part");
}

static void run(bool reader)
{
	struct wireguard *w = start(reader);
	struct random random = {.state = 13};
	check_sharing(w);
	for (unsigned round = 0; round < ROUNDS; round++) {
		exchange(w);
		wireguard_advance(w, 2 * NS_PER_S);
		roam_and_renew(w, &random);
		check(w->h);
	}
	exchange(w);
	cr_assert_eq(wg_count(w, STATS_sessions_started), CLIENTS + OWN);
	cr_assert_gt(wg_count(w, STATS_rekeys), CLIENTS);
	cr_assert_gt(wg_count(w, STATS_roams), CLIENTS);
	cr_assert_eq(wg_drops(w, DROP_PROTOCOL), 0);
	wg_unit_finish(w);
}

Test(wireguard_many, each_gets_its_own)
{
	run(false);
}

Test(wireguard_many, each_gets_its_own_by_a_reader)
{
	run(true);
}
