// SPDX-License-Identifier: Apache-2.0
/* A start as a table of steps, each of which opens one thing. They are closed in mirror order: at the end, and when a
 * later step fails. */
#pragma once

#include <stddef.h>

#include "core/base/error.h"

struct step {
	const char *name; /* the subject of an error for which `open` set no text */
	/* 0, or a negative errno. A step that fails leaves nothing behind, and its `close` is not called. */
	int (*open)(void *context, struct error *error);
	void (*close)(void *context); /* NULL: nothing to close */
};

struct steps {
	const struct step *table; /* borrowed */
	size_t count;
	void *context; /* of the functions */
	size_t opened; /* the first so many are open */
};

#define STEPS(list, owner) ((struct steps){.table = (list), .count = ARRAY_SIZE(list), .context = (owner)})

/* Opens all, or none: what was open when a step failed is closed again. Returns the failure's code, with `error` set
 * (NULL is allowed). */
int steps_open(struct steps *steps, struct error *error);

/* Closes what is open, the last first. Again is allowed. */
void steps_close(struct steps *steps);
