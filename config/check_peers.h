// SPDX-License-Identifier: Apache-2.0
/* Whether the peers go with the gateway's networks and with each other: a part of config/check.h. */
#pragma once

#include "config/config.h"

/* Wants the gateway's own options checked. `mtu_line` is where MTU stands. 0, -EINVAL with "FILE:LINE: Key = offending
 * text: ..." in `error`, or -ENOMEM. */
int check_peers(const struct gateway_config *config, unsigned mtu_line, struct error *error);
