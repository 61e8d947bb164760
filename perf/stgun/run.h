// SPDX-License-Identifier: Apache-2.0
/* One run of the generator, from the first HELLO to the report. */
#pragma once

#include <signal.h>

#include "perf/stgun/options.h"

/* Runs connect, load or search, and reports on standard output and where --json says; progress goes to standard error
 * when that is a terminal. *stop ends it early, with a report of what there is. The arguments are for the report. 0, or
 * a negative errno with `error` set. */
int stgun_run(struct stgun_options *options, int argc, char **argv, const volatile sig_atomic_t *stop,
	      struct error *error);
