// SPDX-License-Identifier: Apache-2.0
/* The gateway from configuration to orderly end. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"
#include "core/gateway/takeover.h"
#include "core/host/background.h"

struct gateway;

/* Everything that can be done without touching the system: reads keys, takes peers over (config_forget_keys), checks
 * addresses. The configuration is borrowed until gateway_free(). NULL with `error` set: it, or a file that it names, is
 * wrong. One per process. Main thread. */
struct gateway *gateway_new(struct gateway_config *config, struct error *error);
void gateway_free(struct gateway *gateway);

/* Runs until a signal or a take-over ends it, or returns at once where only a reload was asked for and done. 0, or a
 * negative errno with `error` set: then nothing is left behind, unless it had taken over and a service manager starts
 * the next process. Has `background` say that all is well when it serves. The same thread. */
int gateway_run(struct gateway *gateway, enum gateway_start start, struct background *background, struct error *error);
