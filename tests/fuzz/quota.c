// SPDX-License-Identifier: Apache-2.0
/* The file of quotas, damaged in any way: reading it ends, each line becomes at most one record, and a line that was
 * taken reads the same when it is written again. */
#include <sys/mman.h>
#include <unistd.h>

#include "core/gateway/quota_file.h"
#include "tests/fuzz/input.h"

static void look_at(uint32_t index, struct usage *usage, void *context)
{
	struct usage_line line = {.period = (enum calendar_period)usage->period,
				  .number = usage->number,
				  .clock = usage->clock,
				  .used = atomic_load_explicit(&usage->used, memory_order_relaxed)};
	struct usage_line again;
	char text[QUOTA_LINE];
	size_t *taken = context;
	(void)index;
	if (!usage->taken)
		return;
	++*taken;
	memcpy(line.public_key, usage->public_key, KEY_SIZE);
	quota_line_format(&line, text);
	insist(quota_line_parse(text, QUOTA_LINE, &again), "it reads as it was written");
	insist(memcmp(line.public_key, again.public_key, KEY_SIZE) == 0 && line.period == again.period &&
		       line.number == again.number && line.clock == again.clock && line.used == again.used,
	       "and is the same");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct quota_file file = {.path = "memory", .fd = memfd_create("quota", MFD_CLOEXEC)};
	struct usages usages;
	struct quota_file_read read;
	size_t taken = 0;
	insist(keys_init(NULL) == 0 && file.fd >= 0 && write(file.fd, data, size) == (ssize_t)size &&
		       lseek(file.fd, 0, SEEK_SET) == 0,
	       "a file in memory");
	usages_init(&usages, 1);
	insist(quota_file_load(&file, &usages, &read, NULL) == 0, "it is read");
	insist(usages_visit(&usages, 0, UINT32_MAX, look_at, &taken) == usages.count, "all are seen");
	insist(taken <= read.records && read.records + read.malformed <= size, "a line is one record at most");
	usages_deinit(&usages);
	quota_file_close(&file);
	return 0;
}
