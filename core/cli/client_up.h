// SPDX-License-Identifier: Apache-2.0
/* Starts a client in the background ('shardtun up'), and ends it ('shardtun down'). Both report on standard error. */
#pragma once

#include "core/cli/cli.h"

enum { CLIENT_UP_LIMIT = 30 /* s, default */ };

/* Starts a client and returns once it is connected, with everything in force. What it logs until then goes to standard
 * error, and from then on to syslog. If it fails, is not connected within `limit` seconds, or SIGINT or SIGTERM comes
 * before, it is ended and undone. Before any thread exists. */
enum cli_status client_up(const struct cli_program *program, const char *file, unsigned limit);

/* Ends a client, however it was started, and returns once everything is undone; also undoes what a killed one left. */
enum cli_status client_down(const struct cli_program *program, const char *file);

/* In the foreground, until a signal ends it. */
enum cli_status client_foreground(const struct cli_program *program, const char *file);
