// SPDX-License-Identifier: Apache-2.0
/* A client in the background: started by 'shardtun up', ended by 'shardtun down'. Both report on standard error. */
#pragma once

#include "core/cli/cli.h"

enum { CLIENT_UP_LIMIT = 30 /* seconds to be connected within, unless told otherwise */ };

/* Starts a client and returns once it is connected, with everything in force; what it logs until then is printed, what
 * it logs after goes to syslog. When it does not connect within `limit` seconds, cannot, or SIGINT or SIGTERM comes
 * meanwhile, nothing is left of it. Before any thread exists. */
enum cli_status client_up(const struct cli_program *program, const char *file, unsigned limit);

/* Ends it, however it was started, and returns once all is gone; or takes back what one left that was killed. */
enum cli_status client_down(const struct cli_program *program, const char *file);

/* In the foreground, until a signal ends it. */
enum cli_status client_foreground(const struct cli_program *program, const char *file);
