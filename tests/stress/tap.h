// SPDX-License-Identifier: Apache-2.0
/* The Test Anything Protocol for plain programs: tap_ok() each fact, tap_done() as the last thing. One thread. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct tap {
	unsigned count, failed;
};

static inline void tap_ok(struct tap *tap, bool good, const char *what)
{
	tap->count++;
	tap->failed += !good;
	printf("%sok %u - %s\n", good ? "" : "not ", tap->count, what);
}

/* The exit status. */
static inline int tap_done(const struct tap *tap)
{
	printf("1..%u\n", tap->count);
	return tap->failed != 0;
}
