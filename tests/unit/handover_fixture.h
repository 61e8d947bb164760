// SPDX-License-Identifier: Apache-2.0
/* A harness's gateway hands its sessions over to the next one, as two processes would. */
#pragma once

#include "core/handover/export.h"
#include "core/handover/import.h"
#include "core/handover/word.h"
#include "tests/harness/unit.h"

struct handover_fixture {
	struct handover_export export; /* of the old gateway, from the first part on */
	struct handover_memory memory; /* from the second part on */
	struct handover_target target;
	struct worker *workers[HARNESS_WORKERS]; /* of the new one */
	struct stats *totals;
	size_t moved, gone; /* sessions, as fixture_adopt() found them */
	struct error error;
};

/* The first part, as a gateway that serves writes it. */
static inline int export_first(struct handover_export *export, struct registry *registry, const struct cookie_jar *jar,
			       uint64_t now)
{
	int result = handover_export_begin(export, registry, jar);
	for (uint32_t i = 0; result == 0 && i < registry->table.sharding.workers; i++) {
		for (uint32_t slot = i; slot != HANDOVER_NO_SLOT;)
			slot = handover_export_sessions(export, slot);
		result = export->writer.result;
	}
	return result == 0 ? handover_export_finish(export, now) : result;
}

static inline int fixture_begin(struct handover_fixture *f, struct harness *h)
{
	int result = export_first(&f->export, &h->gateway.registry, &h->gateway.jar, h->clock.monotonic);
	f->error = f->export.error;
	return result;
}

/* The second one; nothing of the old gateway is needed any more. */
static inline int fixture_end(struct handover_fixture *f, struct harness *h)
{
	struct stats_snapshot totals = {0};
	for (size_t i = 0; i < h->gateway.node.stats_count; i++)
		stats_read(h->gateway.node.stats[i], &totals);
	const struct handover_now now = {.totals = &totals, .now = h->clock.monotonic, .frozen = h->clock.monotonic};
	int result = handover_export_moved(&f->export, &now);
	f->error = f->export.error;
	f->memory = f->export.memory;
	f->export.memory = (struct handover_memory){.fd = -1};
	handover_export_end(&f->export, false);
	return result;
}

/* Both, and nothing moved between them. */
static inline int fixture_export(struct handover_fixture *f, struct harness *h)
{
	int result = fixture_begin(f, h);
	return result == 0 ? fixture_end(f, h) : result;
}

static inline void fixture_aim(struct handover_fixture *f, struct harness *h)
{
	f->totals = aligned_alloc(CACHE_LINE, sizeof *f->totals);
	memset(f->totals, 0, sizeof *f->totals);
	for (uint32_t i = 0; i < h->gateway.registry.table.sharding.workers; i++)
		f->workers[i] = harness_gateway_worker(h, i);
	f->target = (struct handover_target){.registry = &h->gateway.registry,
					     .engine = h->gateway.node.worker->aead,
					     .jar = &h->gateway.jar,
					     .totals = f->totals,
					     .now = h->clock.monotonic,
					     .workers = f->workers};
}

/* Returns how many sessions went to workers and stayed there. */
static inline size_t fixture_adopt(struct handover_fixture *f, struct harness *h, struct handover_import *import)
{
	handover_take_over(import, &f->target);
	cr_assert_eq(handover_check_moved(import, h->clock.monotonic, &f->error), 0, "%s", f->error.text);
	handover_follow(import, &f->target);
	size_t count = import->count - import->dropped - import->gone;
	f->moved = import->moved;
	f->gone = import->gone;
	handover_discard(import);
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
