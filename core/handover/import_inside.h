// SPDX-License-Identifier: Apache-2.0
/* What the files that read a hand-over's two parts share. */
#pragma once

#include <stdbool.h>

#include "core/handover/format.h"
#include "core/sessions/registry.h"

/* Whether a record of its size may be. */
bool handover_usage_right(const void *record);

/* The quota of its key has the later of both counts. */
void handover_take_usage(struct registry *registry, const struct handover_usage *from);
