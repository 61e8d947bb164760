// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/commands.h"

#include <stdlib.h>
#include <string.h>

#include "core/control/words.h"
#include "core/daemon/daemon.h"
#include "core/daemon/describe.h"

struct report_request {
	json_t *(*make)(const struct status_source *source);
	json_t *result;
};

static void make_report(void *context, const struct status_source *source)
{
	struct report_request *request = context;
	request->result = request->make(source);
}

static json_t *report(struct daemon *daemon, json_t *(*make)(const struct status_source *source))
{
	struct report_request request = {.make = make};
	daemon_describe(daemon, make_report, &request);
	return request.result;
}

static json_t *handle_status(void *context, char *const *arguments, size_t count, struct error *error)
{
	(void)arguments, (void)count;
	return words_no_memory_unless(report(context, status_json), error);
}

static int sample_stages(struct daemon *daemon, const char *text, struct error *error)
{
	char *end;
	unsigned long interval = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || interval > STAGE_SAMPLING_MAX)
		return error_set(error, -EINVAL, "%.32s: not a number from 0 to %d", text, STAGE_SAMPLING_MAX);
	daemon_sample_stages(daemon, (uint32_t)interval);
	return 0;
}

static json_t *handle_stages(void *context, char *const *arguments, size_t count, struct error *error)
{
	bool raw = count == 1 && strcmp(arguments[0], "raw") == 0;
	bool sampling = count == 2 && strcmp(arguments[0], "sampling") == 0;
	if (sampling && sample_stages(context, arguments[1], error) != 0)
		return NULL;
	if (count != 0 && !raw && !sampling) {
		error_set(error, -EINVAL, "%.64s: unexpected here", arguments[count - 1]);
		return NULL;
	}
	return words_no_memory_unless(report(context, raw ? status_stages_raw : status_stages), error);
}

const struct control_command daemon_commands[] = {
	{"status", "what runs here, counters and drop reasons", handle_status},
	{"stages",
	 "time in each stage of the data path: [raw], with the histograms' buckets; [sampling N]: time 1 in N",
	 handle_stages},
};
const size_t daemon_command_count = ARRAY_SIZE(daemon_commands);
