// SPDX-License-Identifier: Apache-2.0
/* The harness as Criterion tests use it. */
#pragma once

#include <criterion/criterion.h>

#include "tests/harness/impairment.h"

/* START(.clients = 2): a gateway, and clients without its address. START_UP(): they are connected. */
#define START(...)    unit_start((struct harness_options){__VA_ARGS__})
#define START_UP(...) unit_start_up((struct harness_options){__VA_ARGS__})

static inline struct harness *unit_start(struct harness_options options)
{
	if (options.clients == 0)
		options.clients = 1;
	return harness_new(&options);
}

static inline struct harness *unit_start_up(struct harness_options options)
{
	struct harness *h = unit_start(options);
	cr_assert(harness_up(h));
	return h;
}

static inline void check(struct harness *h)
{
	harness_pump(h);
	const char *problem = harness_problem(h);
	cr_assert(problem == NULL, "%s", problem);
}

static inline void finish(struct harness *h)
{
	check(h);
	harness_free(h);
}

/* In steps of the timer wheel of limits. */
static inline void pass_ms(struct harness *h, unsigned ms)
{
	for (unsigned i = 0; i < 2 * ms; i++) {
		h->clock.monotonic += NS_PER_MS / 2;
		harness_pump(h);
	}
}

static inline uint64_t gateway_drops(const struct harness *h, enum drop_reason reason)
{
	return node_drops(&h->gateway.node, reason);
}

static inline uint64_t gateway_count(const struct harness *h, enum stats_counter counter)
{
	return node_counter(&h->gateway.node, counter);
}

static inline uint64_t client_count(const struct harness *h, enum stats_counter counter)
{
	return node_counter(&h->clients[0].node, counter);
}

/* One packet each way between the first client and the gateway. */
static inline bool pings(struct harness *h)
{
	return harness_ping(h, 0, TO_GATEWAY) && harness_ping(h, 0, TO_CLIENT);
}

/* Impairment that loses every message of these types (bit by number). */
static inline struct impairment *lose(struct harness *h, uint32_t types)
{
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = types;
	impairment->lose = 100;
	return impairment;
}
