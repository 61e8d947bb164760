// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_stages.h"

#include <stdlib.h>

#include "core/cli/ctl.h"
#include "core/cli/ctl_print.h"
#include "perf/export/stages.h"

/* --- snapshots ---------------------------------------------------------------------------------------------------- */

/* Takes `report` over. */
static int parse(struct stages *stages, json_t *report, const char *whose, struct error *error)
{
	int code = stages_parse(stages, report, error);
	json_decref(report);
	return code == 0 ? 0 : error_prefix(error, code, "%s: ", whose);
}

static int ask(struct stages *stages, const struct ctl_options *options, struct error *error)
{
	struct ctl_target target;
	json_t *report;
	int code = ctl_find_target(options, &target, error);
	if (code == 0)
		code = ctl_request(&target, "stages raw", &report, error);
	return code == 0 ? parse(stages, report, target.path, error) : code;
}

static int load(struct stages *stages, const char *file, struct error *error)
{
	json_error_t where;
	json_t *report = json_load_file(file, 0, &where);
	if (report == NULL)
		return error_set(error, -EINVAL, "%s: %s", file, where.text);
	return parse(stages, report, file, error);
}

/* Does what --sampling asks for, if it was given. */
static int choose_sampling(const struct ctl_options *options, struct error *error)
{
	char request[64];
	struct ctl_target target;
	uint64_t interval;
	json_t *report;
	const char *text = ctl_value(options, CTL_SAMPLING);
	if (text == NULL)
		return 0;
	if (!ctl_parse_number(text, 0, UINT64_MAX, &interval))
		return error_set(error, -EINVAL, "--sampling %.32s: not a number", text);
	(void)snprintf(request, sizeof request, "stages sampling %.32s", text);
	int code = ctl_find_target(options, &target, error);
	if (code == 0)
		code = ctl_request(&target, request, &report, error);
	if (code == 0)
		json_decref(report);
	return code;
}

/* The two snapshots of --diff: now and SECONDS later, BEFORE and AFTER, or BEFORE and now. */
static int read_two(struct stages two[2], const struct ctl_options *options, const char *after, struct error *error)
{
	const char *first = ctl_value(options, CTL_DIFF);
	uint64_t ns;
	int code;
	if (after == NULL && ctl_parse_seconds(first, &ns)) {
		code = ask(&two[0], options, error);
		(void)ctl_sleep(code == 0 ? ns : 0);
	} else {
		code = load(&two[0], first, error);
	}
	if (code != 0)
		return code;
	return after != NULL ? load(&two[1], after, error) : ask(&two[1], options, error);
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static enum cli_status show(const struct cli_program *program, const struct ctl_options *options,
			    const struct stages *stages)
{
	bool raw = ctl_value(options, CTL_RAW) != NULL;
	json_t *report = stages_report(stages, raw);
	if (report == NULL)
		return CLI_FAILED;
	if (options->json || raw) {
		json_dumpf(report, stdout, (raw ? JSON_COMPACT : JSON_INDENT(2)) | JSON_REAL_PRECISION(10));
		putchar('\n');
	} else {
		ctl_print_stages(stdout, report);
	}
	json_decref(report);
	return cli_finish(program, CLI_OK);
}

enum cli_status ctl_stages(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			   int count)
{
	struct error error;
	struct stages *two = calloc(2, sizeof *two);
	if (two == NULL)
		return CLI_FAILED;
	bool diff = ctl_value(options, CTL_DIFF) != NULL;
	int code = choose_sampling(options, &error);
	if (code == 0)
		code = diff ? read_two(two, options, count != 0 ? words[0] : NULL, &error)
			    : ask(&two[1], options, &error);
	if (code == 0 && diff)
		code = stages_subtract(&two[1], &two[0], &error);
	enum cli_status status = code == 0 ? show(program, options, &two[1]) : cli_fail(program, CLI_FAILED, &error);
	free(two);
	return status;
}
