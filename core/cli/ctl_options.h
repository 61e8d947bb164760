// SPDX-License-Identifier: Apache-2.0
/* The options of shardtunctl, and what its commands do with them. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/cli/cli.h"
#include "core/cli/ctl_target.h"

/* Options of single commands. The daemon's commands get the values as they are. */
enum ctl_option {
	CTL_FROM = 256,
	CTL_COUNT,
	CTL_PEER,
	CTL_ADDRESS,
	CTL_STATE,
	CTL_PSK_FILE,
	CTL_ALLOWED_IPS,
	CTL_RATE_UP,
	CTL_RATE_DOWN,
	CTL_BURST,
	CTL_QUOTA,
	CTL_QUOTA_RATE,
	CTL_NAME,
	CTL_NEW,
	CTL_ENDPOINT,
	CTL_ROUTES,
	CTL_SAVE,
	CTL_QR,
	CTL_WIREGUARD,
	CTL_OUTPUT,
	CTL_FORCE,
	CTL_RAW,
	CTL_DIFF,
	CTL_SAMPLING,
	CTL_SORT,
	CTL_FILTER,
	CTL_BATCH,
	CTL_INTERVAL,
	CTL_TIMES,
	CTL_AGENT,
	CTL_OFF,
	CTL_OPTIONS_END,
};
enum { CTL_OPTIONS = CTL_OPTIONS_END - CTL_FROM };

/* For getopt_long(): the options above in their order, then 's', 'c' and 'j', which every command takes. 'b' and 'n'
 * are short for CTL_BATCH and CTL_TIMES. */
extern const struct option ctl_long_options[];

struct ctl_options {
	const char *socket; /* NULL: the only one in CTL_DIRECTORY */
	const char *config; /* the gateway's; NULL: CTL_GATEWAY_CONFIG */
	bool json;
	const char *values[CTL_OPTIONS]; /* NULL: not given; "" for one that takes no value */
};

static inline const char *ctl_value(const struct ctl_options *options, enum ctl_option option)
{
	return options->values[option - CTL_FROM];
}

/* The daemon to ask: at the socket that was given, or at the only one. 0 or a negative errno. */
int ctl_find_target(const struct ctl_options *options, struct ctl_target *target, struct error *error);

/* Reports values that do not fit into a request (ctl_line_add()). Returns CLI_USAGE. */
enum cli_status ctl_refuse_words(const struct cli_program *program);

/* Parse an option's value; `text` NULL, when it was not given, leaves the default. False: the value is wrong. */
bool ctl_parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *number);
bool ctl_parse_seconds(const char *text, uint64_t *ns); /* 0.1 to a day */
