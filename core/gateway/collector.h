// SPDX-License-Identifier: Apache-2.0
/* Collects the sessions that workers retired, a batch at a time. While there are more, a timer brings the next batch:
 * in between handshake threads get the registry's mutex, and the control thread serves others. Control thread. */
#pragma once

#include "core/sessions/registry.h"

struct collector {
	struct registry *registry;
	int timer_fd; /* readable when the next batch is due */
};

int collector_open(struct collector *collector, struct registry *registry, struct error *error);
void collector_close(struct collector *collector);

/* One batch. Once a second, and when the timer's descriptor is readable. */
void collector_step(struct collector *collector);
