// SPDX-License-Identifier: Apache-2.0
/* "shardtunctl peer": the command that does more than to ask the daemon. With --new it makes a client's keys, lets it
 * in and prints its file; with --save it writes the peer where the daemon finds it at the next start. Private keys
 * never go to the daemon, and no secret to a command line. */
#pragma once

#include "core/cli/ctl_command.h"

/* `words` are what follows "peer": add or del, and, unless there is a --new, a public key. */
enum cli_status ctl_peer(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			 int count);
