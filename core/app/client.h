// SPDX-License-Identifier: Apache-2.0
/* The client from configuration to orderly end. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"

/* Everything that can be checked without touching the system: the keys. 0 or a negative errno. */
int client_check(const struct client_config *config, struct error *error);

/* Runs until SIGTERM or SIGINT. 0, or a negative errno with `error` set and nothing left behind. Main thread. */
int client_run(const struct client_config *config, struct error *error);
