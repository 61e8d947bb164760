// SPDX-License-Identifier: Apache-2.0
/* Records of a gateway's sessions, changed in any way and then with a right checksum: reading them ends, what is
 * refused leaves nothing, and with what is taken over a gateway runs, whose figures agree with each other. */
#include "core/handover/export.h"
#include "core/handover/import.h"
#include "core/handover/writer.h"
#include "tests/fuzz/input.h"
#include "tests/harness/harness.h"

enum { CHANGES = 64, STEPS = 4 };

/* The harness lives on from input to input, and what peers own is found from locked memory alone, where the detector of
 * leaks does not look. The unit tests watch for those. */
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void);
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static struct harness *h;
static uint8_t *original; /* records of two sessions */
static size_t original_size;
static struct stats *totals;

/* Keys that were renewed, one client that left, quotas and limits. The gateway that is left has no session. */
static void record(void)
{
	struct handover_memory memory;
	struct stats_snapshot counted = {0};
	h = harness_new(&(struct harness_options){.clients = 3,
						  .max_sessions = 8,
						  .fast_aead = true,
						  .limits = {{.up = 8000, .down = 8000, .quota = 1 << 30}},
						  .networks = {{NULL}, {"192.168.7.0/24"}}});
	insist(h != NULL && harness_up(h), "clients connect");
	harness_advance(h, 130 * NS_PER_S);
	for (size_t i = 0; i < 3; i++)
		insist(harness_ping(h, i, TO_GATEWAY), "packets pass");
	harness_stop_client(h, 2, true);
	harness_pump(h);
	stats_read(h->gateway.node.stats[0], &counted);
	const struct handover_source source = {.registry = &h->gateway.registry,
					       .jar = &h->gateway.jar,
					       .totals = &counted,
					       .now = h->clock.monotonic};
	insist(handover_export(&source, &memory, NULL) == 0, "it is written");
	original_size = memory.size;
	original = malloc(original_size);
	totals = aligned_alloc(CACHE_LINE, sizeof *totals);
	insist(original != NULL && totals != NULL, "memory");
	memcpy(original, memory.bytes, original_size);
	handover_memory_close(&memory);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
}

/* A place, and what becomes of it. */
static void change(struct input *input, uint8_t *bytes, size_t size)
{
	for (unsigned i = 0; i < CHANGES && input->left > 2; i++) {
		size_t at = input_u16(input);
		uint8_t value = input_byte(input);
		if (at < size)
			bytes[at] = value;
	}
}

static void take_over(struct handover_import *import, const struct handover_target *target)
{
	size_t count = import->count;
	handover_take_over(import, target);
	for (size_t i = 0; i < count; i++) {
		struct handover_adopted *one = &import->sessions[i];
		struct worker *worker = harness_owner(h, one->session->id);
		insist(gateway_role_adopt(worker, one->session, &one->ready) == 0, "memory");
	}
	free(import->sessions);
	for (unsigned i = 0; i < STEPS; i++) {
		harness_advance(h, WORKER_TICK_NS << i);
		insist(harness_problem(h) == NULL, harness_problem(h));
	}
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct handover_import import;
	if (h == NULL)
		record();
	size_t cut = input_byte(&input) & 1 ? input_u16(&input) % original_size : original_size;
	size_t room = (cut + 7) / 8 * 8 + 8;
	uint8_t *bytes = aligned_alloc(8, room);
	insist(bytes != NULL, "memory");
	memcpy(bytes, original, cut);
	change(&input, bytes, cut);
	struct handover_head *head = (struct handover_head *)(void *)bytes;
	if (cut >= sizeof *head && head->used >= sizeof *head && head->used <= cut)
		handover_checksum(bytes, head->used, head->checksum);
	struct handover_memory memory = {.fd = -1, .bytes = bytes, .size = cut};
	memset(totals, 0, sizeof *totals);
	const struct handover_target target = {.registry = &h->gateway.registry,
					       .engine = h->gateway.node.worker->aead,
					       .jar = &h->gateway.jar,
					       .totals = totals,
					       .now = h->clock.monotonic};
	if (handover_read(&import, &memory, &target, NULL) == 0)
		take_over(&import, &target);
	else
		insist(h->gateway.registry.pool.used == 0 && import.sessions == NULL, "nothing is left");
	free(bytes);
	return 0;
}
