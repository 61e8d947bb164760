// SPDX-License-Identifier: Apache-2.0
/* The commands of shardtunctl: from the words and options of the command line to the daemon's answer on standard
 * output. */
#pragma once

#include "core/cli/ctl_options.h"

/* Runs the command that the words name, and reports errors on standard error. */
enum cli_status ctl_command_run(const struct cli_program *program, const struct ctl_options *options,
				char *const *words, int count);
