// SPDX-License-Identifier: Apache-2.0
/* shardtunctl peer: adds and removes peers of a running gateway. With --new it also generates the client's keys and
 * prints the client's file; with --save it writes the peer into PeersDirectory. Private keys are never sent to the
 * daemon, and no secret is ever on a command line. */
#pragma once

#include "core/cli/ctl_options.h"

/* `words` are the arguments after "peer": add or del, and, without --new, a public key. */
enum cli_status ctl_peer(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			 int count);
