// SPDX-License-Identifier: Apache-2.0
/* shardtunctl stages: how long the stages took since the daemon's start, or between two snapshots. */
#pragma once

#include "core/cli/ctl_options.h"

/* `words`: the second file of --diff, if there is one. */
enum cli_status ctl_stages(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			   int count);
