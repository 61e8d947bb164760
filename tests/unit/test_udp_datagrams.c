// SPDX-License-Identifier: Apache-2.0
/* The datagrams of a received message. */
#include <criterion/criterion.h>

#include "workers/udp.h"

static const struct {
	const char *name;
	uint32_t length;
	uint16_t segment_size;
	uint32_t count, last; /* datagrams, and bytes of the last */
} rows[] = {
	{"single", 100, 0, 1, 100},
	{"empty", 0, 0, 1, 0},
	{"train with a shorter end", 250, 100, 3, 50},
	{"train of equal ones", 300, 100, 3, 100},
	{"train of one", 100, 100, 1, 100},
	{"shorter than a segment", 60, 100, 1, 60},
	{"bytes", 3, 1, 3, 1},
};

Test(udp_datagrams, each_is_visited_once_in_order)
{
	static uint8_t bytes[300];
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct udp_message message = {
			.data = bytes, .length = rows[i].length, .segment_size = rows[i].segment_size};
		struct udp_datagrams datagrams = udp_datagrams(&message);
		uint32_t at = 0, count = 0;
		while (udp_datagrams_next(&datagrams)) {
			cr_assert_eq(datagrams.data - bytes, at, "%s", rows[i].name);
			cr_assert_eq(datagrams.count, ++count, "%s", rows[i].name);
			if (count < rows[i].count)
				cr_assert_eq(datagrams.length, rows[i].segment_size, "%s", rows[i].name);
			at += datagrams.length;
		}
		cr_assert_eq(count, rows[i].count, "%s", rows[i].name);
		cr_assert_eq(datagrams.length, rows[i].last, "%s", rows[i].name);
		cr_assert_eq(at, rows[i].length, "%s", rows[i].name);
		cr_assert_not(udp_datagrams_next(&datagrams), "%s: it stays at the end", rows[i].name);
	}
}
