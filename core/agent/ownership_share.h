// SPDX-License-Identifier: Apache-2.0
/* How many blocks a node is to have, and which it takes first. Only for core/agent/ownership.c. */
#pragma once

#include "core/agent/ownership.h"

/* From a view: whether we are a member, and our share: blocks over live members that do not drain, rounded up. */
void ownership_share_update(struct ownership *ownership, const struct ownership_view *view);

/* The block less one at which we begin: agents that begin at different ones seldom meet in a transaction. */
unsigned ownership_share_first(const struct ownership *ownership);
