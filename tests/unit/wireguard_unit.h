// SPDX-License-Identifier: Apache-2.0
/* WireGuard clients of the harness as Criterion tests use them. */
#pragma once

#include <stdio.h>

#include "tests/harness/unit.h"
#include "tests/harness/wireguard.h"

/* WG_START(3, .workers = 2): a gateway that knows three WireGuard clients, and one of ours that is not connected.
 * WG_UP(): they are connected. */
#define WG_START(count, ...) wg_unit_start(count, (struct harness_options){__VA_ARGS__})
#define WG_UP(count, ...)    wg_unit_up(count, (struct harness_options){__VA_ARGS__})

static inline struct wireguard *wg_unit_start(size_t count, struct harness_options options)
{
	options.wireguard = true;
	return wireguard_new(unit_start(options), count);
}

static inline struct wireguard *wg_unit_up(size_t count, struct harness_options options)
{
	struct wireguard *w = wg_unit_start(count, options);
	cr_assert(wireguard_up(w));
	return w;
}

static inline void wg_unit_finish(struct wireguard *w)
{
	struct harness *h = w->h;
	wireguard_pump(w);
	check(h);
	wireguard_free(w);
	finish(h);
}

static inline bool wg_pings(struct wireguard *w, size_t client)
{
	return wireguard_ping(w, client, TO_GATEWAY) && wireguard_ping(w, client, TO_CLIENT);
}

static inline uint64_t wg_count(const struct wireguard *w, enum stats_counter counter)
{
	return gateway_count(w->h, counter);
}

static inline uint64_t wg_drops(const struct wireguard *w, enum drop_reason reason)
{
	return gateway_drops(w->h, reason);
}

/* The next event's kind and reason, or "". */
static inline const char *wg_event(struct wireguard *w)
{
	static char text[128];
	struct event *event = event_take(&w->h->gateway.events);
	if (event == NULL)
		return "";
	snprintf(text, sizeof text, "%s%s%s%s%s", event_kind_text(event->kind), event->protocol != NULL ? " " : "",
		 event->protocol != NULL ? event->protocol : "", event->reason != NULL ? " " : "",
		 event->reason != NULL ? event->reason : "");
	free(event);
	return text;
}
