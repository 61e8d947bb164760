// SPDX-License-Identifier: Apache-2.0
/* The gateway from configuration to orderly end. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"

/* Everything that can be checked without touching the system: keys, peers, addresses. 0 or a negative errno. */
int gateway_check(const struct gateway_config *config, struct error *error);

/* Runs until SIGTERM or SIGINT. 0, or a negative errno with `error` set and nothing left behind. Main thread. */
int gateway_run(const struct gateway_config *config, struct error *error);
