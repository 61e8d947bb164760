// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_top.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/cli/ctl.h"

enum { BATCH_ROWS = 20, BATCH_WIDTH = 200, SOON_MS = 200 /* until there are rates */, SOON_TIMES = 25 };

static void drop_sample(struct ctl_top_sample *sample)
{
	json_decref(sample->status);
	json_decref(sample->top);
	*sample = (struct ctl_top_sample){0};
}

static int ask_for_sessions(struct ctl_top *top, json_t **answer, struct error *error)
{
	const struct ctl_top_view *view = &top->view;
	unsigned count = view->filter[0] != '\0' ? CTL_TOP_SESSIONS_MAX : view->first + view->rows;
	char request[64];
	(void)snprintf(request, sizeof request, "top --sort %s --count %u", ctl_top_orders[view->order], count);
	return ctl_request(&top->target, request, answer, error);
}

int ctl_top_ask(struct ctl_top *top, struct error *error)
{
	struct ctl_top_sample sample = {.at = clock_monotonic(&clock_system)};
	int code = ctl_request(&top->target, "status", &sample.status, error);
	if (code == 0 && strcmp(json_string_value(json_object_get(sample.status, "role")) ?: "", "gateway") == 0)
		code = ask_for_sessions(top, &sample.top, error);
	if (code != 0) {
		drop_sample(&sample);
		return code;
	}
	drop_sample(&top->view.before);
	top->view.before = top->view.now;
	top->view.now = sample;
	return 0;
}

bool ctl_top_ready(const struct ctl_top *top)
{
	const struct ctl_top_view *view = &top->view;
	return view->before.at != 0 && (view->now.top == NULL || json_is_true(json_object_get(view->now.top, "ready")));
}

/* --- without a terminal ------------------------------------------------------------------------------------------- */

static void print_view(const struct ctl_top_view *view, bool separate)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return;
	ctl_top_write(out, view);
	fclose(out);
	if (separate)
		putchar('\n');
	for (const char *c = text; *c != '\0'; c++) {
		if (*c != CTL_TOP_HEADING)
			putchar(*c);
	}
	free(text);
}

static void print_line(const struct ctl_top_view *view)
{
	json_t *line = json_pack("{s:O, s:O?}", "status", view->now.status, "top", view->now.top);
	json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10));
	putchar('\n');
	json_decref(line);
}

/* The first sample has no rates: takes more, quickly, until there are some. */
static int wait_until_ready(struct ctl_top *top, struct error *error)
{
	int code = 0;
	for (int i = 0; i < SOON_TIMES && code == 0 && !ctl_top_ready(top); i++) {
		if (i != 0)
			(void)ctl_sleep(SOON_MS * NS_PER_MS);
		code = ctl_top_ask(top, error);
	}
	return code;
}

static int run_batch(struct ctl_top *top, uint64_t times, bool json, struct error *error)
{
	int code = wait_until_ready(top, error);
	for (uint64_t i = 0; i < times && code == 0; i++) {
		if (i != 0) {
			(void)ctl_sleep(top->interval);
			code = ctl_top_ask(top, error);
		}
		if (code == 0 && json)
			print_line(&top->view);
		else if (code == 0)
			print_view(&top->view, i != 0);
		fflush(stdout);
	}
	return code;
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static bool parse_order(const char *label, unsigned *order)
{
	for (unsigned i = 0; label != NULL && i < CTL_TOP_ORDERS; i++) {
		if (strcmp(label, ctl_top_orders[i]) == 0) {
			*order = i;
			return true;
		}
	}
	return label == NULL;
}

static enum cli_status live(const struct cli_program *program, struct ctl_top *top)
{
	struct error error;
	int ended_by = ctl_top_screen(top, &error);
	if (ended_by < 0)
		return cli_fail(program, CLI_FAILED, &error);
	if (ended_by > 0) {
		/* The shell should see that a signal ended us. */
		(void)signal(ended_by, SIG_DFL);
		(void)raise(ended_by);
	}
	return CLI_OK;
}

static enum cli_status run(const struct cli_program *program, struct ctl_top *top, const struct ctl_options *options,
			   uint64_t times)
{
	struct error error;
	if (ctl_find_target(options, &top->target, &error) != 0 || ctl_top_ask(top, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	if (ctl_value(options, CTL_BATCH) == NULL)
		return live(program, top);
	if (run_batch(top, times, options->json, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	return cli_finish(program, CLI_OK);
}

enum cli_status ctl_top(const struct cli_program *program, const struct ctl_options *options, char *const *words,
			int count)
{
	(void)words, (void)count;
	struct ctl_top top = {.interval = NS_PER_S, .view = {.width = BATCH_WIDTH}};
	uint64_t times = UINT64_MAX, rows = BATCH_ROWS;
	const char *filter = ctl_value(options, CTL_FILTER);
	bool batch = ctl_value(options, CTL_BATCH) != NULL;
	if (!ctl_parse_seconds(ctl_value(options, CTL_INTERVAL), &top.interval))
		return cli_usage_error(program, "--interval wants seconds, from 0.1 to a day");
	if (!ctl_parse_number(ctl_value(options, CTL_TIMES), 1, UINT64_MAX, &times))
		return cli_usage_error(program, "--times wants a number");
	if (!ctl_parse_number(ctl_value(options, CTL_COUNT), 1, CTL_TOP_SESSIONS_MAX, &rows))
		return cli_usage_error(program, "--count wants a number from 1 to %d", CTL_TOP_SESSIONS_MAX);
	if (!parse_order(ctl_value(options, CTL_SORT), &top.view.order))
		return cli_usage_error(program, "--sort wants bits, rx, tx, packets, bytes, seen, age or roams");
	if (filter != NULL && strlen(filter) >= CTL_TOP_FILTER_MAX)
		return cli_usage_error(program, "--filter wants less than %d bytes", CTL_TOP_FILTER_MAX);
	if (!batch && (options->json || ctl_value(options, CTL_TIMES) != NULL || ctl_value(options, CTL_COUNT) != NULL))
		return cli_usage_error(program, "--json, --times and --count of top want --batch");
	if (filter != NULL)
		memcpy(top.view.filter, filter, strlen(filter) + 1);
	top.view.rows = (unsigned)rows;
	enum cli_status status = run(program, &top, options, times);
	drop_sample(&top.view.before);
	drop_sample(&top.view.now);
	return status;
}
