// SPDX-License-Identifier: Apache-2.0
/* How a running client reacts to states of its connection and to the machine. Control thread; all are called by
 * daemon_loop(). */
#pragma once

#include "core/client/context.h"

/* With the client as context: the worker posted a snapshot; changes of the machine's networks have come to rest. */
void client_events_on_state(void *context);
void client_events_on_settled(void *context);

void client_events_every_second(struct daemon *daemon);
