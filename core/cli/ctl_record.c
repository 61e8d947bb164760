// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_record.h"

#include <stdlib.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/cli/ctl.h"

static double unix_time(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int record_line(struct ctl_target *target, struct error *error)
{
	json_t *status, *stages;
	double time = unix_time();
	int code = ctl_request(target, "status", &status, error);
	if (code != 0)
		return code;
	code = ctl_request(target, "stages raw", &stages, error);
	if (code != 0) {
		json_decref(status);
		return code;
	}
	json_t *line = json_pack("{s:f, s:o, s:o}", "time", time, "status", status, "stages", stages);
	char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(14));
	json_decref(line);
	if (text == NULL)
		return error_set(error, -ENOMEM, "out of memory");
	/* Written in one piece: a kill leaves no half line behind. */
	fprintf(stdout, "%s\n", text);
	free(text);
	return fflush(stdout) == 0 ? 0 : error_set(error, -EIO, "standard output: %s", strerror(errno));
}

enum cli_status ctl_record(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			   int count)
{
	(void)words, (void)count;
	struct error error;
	struct ctl_target target;
	static char buffer[1 << 20];
	uint64_t interval = NS_PER_S, times = UINT64_MAX;
	if (!ctl_parse_seconds(ctl_value(options, CTL_INTERVAL), &interval))
		return cli_usage_error(program, "--interval wants seconds, from 0.1 to a day");
	if (!ctl_parse_number(ctl_value(options, CTL_TIMES), 1, UINT64_MAX, &times))
		return cli_usage_error(program, "--times wants a number");
	if (ctl_find_target(options, &target, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	uint64_t next = clock_monotonic(&clock_system);
	for (;;) {
		if (record_line(&target, &error) != 0)
			return cli_fail(program, CLI_FAILED, &error);
		if (--times == 0)
			return cli_finish(program, CLI_OK);
		uint64_t now = clock_monotonic(&clock_system);
		next = next + interval > now ? next + interval : now; /* missed lines are not made up for */
		(void)ctl_sleep(next - now);
	}
}
