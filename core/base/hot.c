// SPDX-License-Identifier: Apache-2.0
#include "core/base/hot.h"

#include "core/base/bytes.h"

/* Of the section, set by the linker (GNU ld, "Output Section Symbols": names that are C identifiers). */
extern const char __start_hot[], __stop_hot[];

void hot_woke(uint64_t slept)
{
	if (slept < HOT_COLD_NS)
		return;
	for (const char *line = __start_hot; line < __stop_hot; line += CACHE_LINE)
		__builtin_prefetch(line, 0, 2);
}
