// SPDX-License-Identifier: Apache-2.0
/* The commands of shardtunctl: from words and options of the command line to the daemon's answer on standard output. */
#pragma once

#include <getopt.h>
#include <stdbool.h>

#include "core/cli/cli.h"
#include "core/cli/ctl.h"

/* Options of single commands; the values of those that are not the tool's own go to the daemon as they are. */
enum ctl_option {
	CTL_FROM = 256,
	CTL_COUNT,
	CTL_PEER,
	CTL_ADDRESS,
	CTL_STATE,
	CTL_PSK_FILE,
	CTL_ALLOWED_IPS,
	CTL_NAME,
	CTL_NEW,
	CTL_ENDPOINT,
	CTL_ROUTES,
	CTL_SAVE,
	CTL_QR,
	CTL_RAW,
	CTL_DIFF,
	CTL_SAMPLING,
	CTL_SORT,
	CTL_FILTER,
	CTL_BATCH,
	CTL_INTERVAL,
	CTL_TIMES,
	CTL_OPTIONS_END,
};
enum { CTL_OPTIONS = CTL_OPTIONS_END - CTL_FROM };

/* For getopt_long(): these in their order, then 's', 'c' and 'j', which every command takes. 'b' and 'n' are short for
 * CTL_BATCH and CTL_TIMES. */
extern const struct option ctl_long_options[];

struct ctl_options {
	const char *socket; /* NULL: the only one */
	const char *config; /* the gateway's; NULL: CTL_GATEWAY_CONFIG */
	bool json;
	const char *values[CTL_OPTIONS]; /* NULL: not given; of those without a value "" */
};

static inline const char *ctl_value(const struct ctl_options *options, enum ctl_option option)
{
	return options->values[option - CTL_FROM];
}

/* Whom to ask: at the socket that was named, or the only one. 0 or a negative errno. */
int ctl_find_target(const struct ctl_options *options, struct ctl_target *target, struct error *error);

/* Says what is wrong with the values of options, which go into requests as they are. */
enum cli_status ctl_refuse_words(const struct cli_program *program);

/* Runs the command that the words say, and reports what is wrong on standard error. */
enum cli_status ctl_run(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			int count);
