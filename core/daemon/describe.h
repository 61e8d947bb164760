// SPDX-License-Identifier: Apache-2.0
/* A running daemon as status, metrics and the status page show it. */
#pragma once

#include "perf/export/status.h"

struct daemon;

/* Describes the daemon to `use`; not called when there is no memory. Control thread and metrics thread, perhaps at
 * once; all threads are started. */
void daemon_describe(struct daemon *daemon, status_use_fn *use, void *context);
