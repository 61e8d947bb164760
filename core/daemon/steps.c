// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/steps.h"

#include <string.h>

static int open_step(const struct step *step, void *context, struct error *error)
{
	if (error != NULL)
		error->text[0] = '\0';
	int result = step->open(context, error);
	if (result != 0 && error != NULL && error->text[0] == '\0')
		error_set(error, result, "%s: %s", step->name, strerror(-result));
	return result;
}

int steps_open(struct steps *steps, struct error *error)
{
	for (; steps->opened < steps->count; steps->opened++) {
		int result = open_step(&steps->table[steps->opened], steps->context, error);
		if (result != 0) {
			steps_close(steps);
			return result;
		}
	}
	return 0;
}

void steps_close(struct steps *steps)
{
	while (steps->opened > 0) {
		const struct step *step = &steps->table[--steps->opened];
		if (step->close != NULL)
			step->close(steps->context);
	}
}
