// SPDX-License-Identifier: Apache-2.0
/* shardtunctl stages: of all time, or of the time between two snapshots. */
#pragma once

#include "core/cli/ctl_command.h"

/* `words`: the second file of --diff, if any. */
enum cli_status ctl_stages(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			   int count);

/* Seconds from an option's value, 0.1 to a day; `text` NULL: leaves *ns as it is. */
bool ctl_parse_seconds(const char *text, uint64_t *ns);

/* A number from 1 on; `text` NULL: leaves *number as it is. */
bool ctl_parse_count(const char *text, uint64_t *number);

/* Sleeps; false when a signal came in between. */
bool ctl_sleep(uint64_t ns);
