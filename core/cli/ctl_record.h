// SPDX-License-Identifier: Apache-2.0
/* shardtunctl record: the input of perf/plot/recording.py. */
#pragma once

#include "core/cli/ctl_options.h"

/* Prints a line of JSON at each interval: {"time": Unix time in seconds, "status": ..., "stages": raw}. Ends after
 * --times lines, or when the daemon does not answer any more. */
enum cli_status ctl_record(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			   int count);
