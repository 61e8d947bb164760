// SPDX-License-Identifier: Apache-2.0
/* The other end: answers what a load generator sends, at an address beyond or at the gateway. It keeps a count for each
 * run, and no other state; any host that reaches it can use it, so run it where only a test can. */
#pragma once

#include <signal.h>

#include "perf/stgun/options.h"

/* Answers until *stop. 0, or a negative errno with `error` set. */
int reflect_run(const struct stgun_options *options, const volatile sig_atomic_t *stop, struct error *error);
