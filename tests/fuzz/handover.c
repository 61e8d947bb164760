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
static uint8_t *original; /* records of three sessions, one of which ended between the parts */
static size_t original_size;
static struct stats *totals;
static struct worker *workers[1];

static void keep_parts(const struct handover_memory *memory)
{
	const struct handover_head *first = (const void *)memory->bytes;
	const struct handover_head *second = (const void *)(memory->bytes + first->second);
	original_size = first->used + second->used;
	original = aligned_alloc(8, original_size);
	totals = aligned_alloc(CACHE_LINE, sizeof *totals);
	insist(original != NULL && totals != NULL, "memory");
	memcpy(original, first, first->used);
	memcpy(original + first->used, second, second->used);
	struct handover_head *head = (void *)original;
	head->second = first->used;
	head->second_room = second->used;
}

static void export_all(struct handover_export *export)
{
	insist(handover_export_begin(export, &h->gateway.registry, &h->gateway.jar) == 0, "it begins");
	for (uint32_t slot = 0; slot != HANDOVER_NO_SLOT;)
		slot = handover_export_sessions(export, slot);
	insist(handover_export_finish(export, h->clock.monotonic) == 0, "the first part is written");
}

/* Keys that were renewed, one client that left, quotas and limits; then one that moves, and another that leaves. The
 * gateway that is left has no session. */
static void record(void)
{
	struct handover_export export;
	struct stats_snapshot counted = {0};
	h = harness_new(&(struct harness_options){.clients = 4,
						  .max_sessions = 8,
						  .fast_aead = true,
						  .limits = {{.up = 8000, .down = 8000, .quota = 1 << 30}},
						  .networks = {{NULL}, {"192.168.7.0/24"}}});
	insist(h != NULL && harness_up(h), "clients connect");
	harness_advance(h, 130 * NS_PER_S);
	for (size_t i = 0; i < 4; i++)
		insist(harness_ping(h, i, TO_GATEWAY), "packets pass");
	harness_stop_client(h, 2, true);
	harness_pump(h);
	export_all(&export);
	insist(harness_ping(h, 0, TO_GATEWAY), "packets pass");
	harness_stop_client(h, 3, true);
	harness_pump(h);
	stats_read(h->gateway.node.stats[0], &counted);
	const struct handover_now now = {.totals = &counted, .now = h->clock.monotonic, .frozen = h->clock.monotonic};
	insist(handover_export_moved(&export, &now) == 0, "the second part is written");
	keep_parts(&export.memory);
	handover_export_end(&export, false);
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

static void run_on(void)
{
	for (unsigned i = 0; i < STEPS; i++) {
		harness_advance(h, WORKER_TICK_NS << i);
		insist(harness_problem(h) == NULL, harness_problem(h));
	}
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
}

static void seal(uint8_t *bytes, size_t size)
{
	struct handover_head *head = (void *)bytes;
	if (size >= sizeof *head && head->used >= sizeof *head && head->used <= size)
		handover_checksum(bytes, head->used, head->checksum);
}

/* Of both parts. */
static void seal_all(uint8_t *bytes, size_t size)
{
	const struct handover_head *head = (const void *)bytes;
	seal(bytes, size);
	if (size >= sizeof *head && head->second <= size && head->second % 8 == 0 && head->second >= sizeof *head)
		seal(bytes + head->second, size - head->second);
	seal(bytes, size); /* where the second begins in the first */
}

static void take_over(const uint8_t *bytes, size_t size)
{
	struct handover_import import;
	struct handover_memory memory = {.fd = -1, .bytes = (uint8_t *)(uintptr_t)bytes, .size = size};
	memset(totals, 0, sizeof *totals);
	workers[0] = harness_gateway_worker(h, 0);
	const struct handover_target target = {.registry = &h->gateway.registry,
					       .engine = h->gateway.node.worker->aead,
					       .jar = &h->gateway.jar,
					       .totals = totals,
					       .now = h->clock.monotonic,
					       .workers = workers};
	if (handover_read(&import, &memory, &target, NULL) != 0) {
		insist(h->gateway.registry.pool.used == 0 && import.sessions == NULL, "nothing is left");
		return;
	}
	handover_take_over(&import, &target);
	if (handover_check_moved(&import, h->clock.monotonic, NULL) == 0)
		handover_follow(&import, &target);
	else
		handover_leave(&import, &target);
	handover_discard(&import);
	run_on();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	if (h == NULL)
		record();
	size_t cut = input_byte(&input) & 1 ? input_u16(&input) % original_size : original_size;
	size_t room = (cut + 7) / 8 * 8 + 8;
	uint8_t *bytes = aligned_alloc(8, room);
	insist(bytes != NULL, "memory");
	memcpy(bytes, original, cut);
	change(&input, bytes, cut);
	seal_all(bytes, cut);
	take_over(bytes, cut);
	free(bytes);
	return 0;
}
