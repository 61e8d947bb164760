// SPDX-License-Identifier: Apache-2.0
/* A harness's gateway hands its sessions over to the next one, as two processes would. */
#pragma once

#include "core/handover/export.h"
#include "core/handover/import.h"
#include "core/handover/word.h"
#include "tests/harness/unit.h"

struct handover_fixture {
	struct handover_memory memory;
	struct handover_target target;
	struct stats *totals;
	struct error error;
};

static inline int fixture_export(struct handover_fixture *f, struct harness *h)
{
	struct stats_snapshot totals = {0};
	for (size_t i = 0; i < h->gateway.node.stats_count; i++)
		stats_read(h->gateway.node.stats[i], &totals);
	const struct handover_source source = {
		.registry = &h->gateway.registry, .jar = &h->gateway.jar, .totals = &totals, .now = h->clock.monotonic};
	return handover_export(&source, &f->memory, &f->error);
}

static inline void fixture_aim(struct handover_fixture *f, struct harness *h)
{
	f->totals = aligned_alloc(CACHE_LINE, sizeof *f->totals);
	memset(f->totals, 0, sizeof *f->totals);
	f->target = (struct handover_target){.registry = &h->gateway.registry,
					     .engine = h->gateway.node.worker->aead,
					     .jar = &h->gateway.jar,
					     .totals = f->totals,
					     .now = h->clock.monotonic};
}

/* Returns how many sessions went to workers. */
static inline size_t fixture_adopt(struct handover_fixture *f, struct harness *h, struct handover_import *import)
{
	size_t count = import->count;
	handover_take_over(import, &f->target);
	for (size_t i = 0; i < count; i++) {
		struct handover_adopted *one = &import->sessions[i];
		cr_assert_eq(gateway_role_adopt(harness_owner(h, one->session->id), one->session, &one->ready), 0);
	}
	free(import->sessions);
	return count;
}

static inline void fixture_close(struct handover_fixture *f)
{
	handover_memory_wipe(&f->memory);
	handover_memory_close(&f->memory);
	free(f->totals);
	f->totals = NULL;
}

/* The gateway is gone without a word, and the next one has its sessions. */
static inline size_t hand_over(struct harness *h)
{
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert_eq(fixture_export(&f, h), 0, "%s", f.error.text);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, &f.error), 0, "%s", f.error.text);
	size_t count = fixture_adopt(&f, h, &import);
	fixture_close(&f);
	return count;
}
