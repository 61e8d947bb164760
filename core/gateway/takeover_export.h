// SPDX-License-Identifier: Apache-2.0
/* What the old process does at its steps of a take-over: export, freeze, follow, thaw. */
#pragma once

#include "core/handover/takeover.h"

struct gateway;

/* Of this gateway; gateway->takeover has the state. Control thread. */
struct takeover_owner gateway_takeover_owner(struct gateway *gateway);
