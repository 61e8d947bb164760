// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_options.h"

#include <math.h>
#include <stdlib.h>

#include "core/cli/ctl.h"

enum { SECONDS_MAX = 86400 };

const struct option ctl_long_options[] = {
	{"from", required_argument, NULL, CTL_FROM},
	{"count", required_argument, NULL, CTL_COUNT},
	{"peer", required_argument, NULL, CTL_PEER},
	{"address", required_argument, NULL, CTL_ADDRESS},
	{"state", required_argument, NULL, CTL_STATE},
	{"psk-file", required_argument, NULL, CTL_PSK_FILE},
	{"allowed-ips", required_argument, NULL, CTL_ALLOWED_IPS},
	{"rate-up", required_argument, NULL, CTL_RATE_UP},
	{"rate-down", required_argument, NULL, CTL_RATE_DOWN},
	{"burst", required_argument, NULL, CTL_BURST},
	{"quota", required_argument, NULL, CTL_QUOTA},
	{"quota-rate", required_argument, NULL, CTL_QUOTA_RATE},
	{"name", required_argument, NULL, CTL_NAME},
	{"new", required_argument, NULL, CTL_NEW},
	{"endpoint", required_argument, NULL, CTL_ENDPOINT},
	{"routes", required_argument, NULL, CTL_ROUTES},
	{"save", no_argument, NULL, CTL_SAVE},
	{"qr", no_argument, NULL, CTL_QR},
	{"wireguard", no_argument, NULL, CTL_WIREGUARD},
	{"directory", required_argument, NULL, CTL_OUTPUT},
	{"force", no_argument, NULL, CTL_FORCE},
	{"raw", no_argument, NULL, CTL_RAW},
	{"diff", required_argument, NULL, CTL_DIFF},
	{"sampling", required_argument, NULL, CTL_SAMPLING},
	{"sort", required_argument, NULL, CTL_SORT},
	{"filter", required_argument, NULL, CTL_FILTER},
	{"batch", no_argument, NULL, CTL_BATCH},
	{"interval", required_argument, NULL, CTL_INTERVAL},
	{"times", required_argument, NULL, CTL_TIMES},
	{"agent", required_argument, NULL, CTL_AGENT},
	{"off", no_argument, NULL, CTL_OFF},
	{"socket", required_argument, NULL, 's'},
	{"config", required_argument, NULL, 'c'},
	{"json", no_argument, NULL, 'j'},
	{0},
};

int ctl_find_target(const struct ctl_options *options, struct ctl_target *target, struct error *error)
{
	char found[CTL_PATH_MAX];
	const char *path = options->socket != NULL ? options->socket : found;
	int result = options->socket != NULL ? 0 : ctl_find_socket(CTL_DIRECTORY, found, error);
	const char *config = options->config != NULL ? options->config : CTL_GATEWAY_CONFIG;
	return result == 0 ? ctl_target_set(target, path, config, error) : result;
}

enum cli_status ctl_refuse_words(const struct cli_program *program)
{
	return cli_usage_error(
		program, "a value has spaces or bytes that are not ASCII, or all together have more than %d bytes",
		CONTROL_REQUEST_MAX);
}

bool ctl_parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *number)
{
	char *end;
	if (text == NULL)
		return true;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && *number >= least && *number <= most;
}

bool ctl_parse_seconds(const char *text, uint64_t *ns)
{
	char *end;
	if (text == NULL)
		return true;
	double seconds = strtod(text, &end);
	if (*text < '0' || *text > '9' || *end != '\0' || !(seconds >= 0.1 && seconds <= SECONDS_MAX))
		return false;
	*ns = (uint64_t)llround(seconds * 1e9);
	return true;
}
