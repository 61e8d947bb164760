// SPDX-License-Identifier: Apache-2.0
/* Answers of a daemon in an intruder's hand, as the tools print them: whatever it says, each line that people see has
 * nothing that a terminal obeys, and no answer takes much memory or time. */
#include "core/base/printable.h"
#include "core/cli/client_command.h"
#include "core/cli/ctl_answer.h"
#include "core/cli/ctl_print.h"
#include "core/cli/ctl_top.h"
#include "perf/export/stages.h"
#include "tests/fuzz/input.h"

enum { COLUMNS = 120, ROWS = 30 };

static void print_stages(FILE *out, json_t *result)
{
	static struct stages stages;
	if (stages_parse(&stages, result, NULL) != 0)
		return;
	json_t *report = stages_report(&stages, false);
	insist(report != NULL, "memory");
	ctl_print_stages(out, report);
	json_decref(report);
}

static void print_top(FILE *out, json_t *result)
{
	struct ctl_top_view view = {
		.before = {.at = 1, .status = json_array_get(result, 0)},
		.now = {.at = 1000000001, .status = json_array_get(result, 1), .top = json_array_get(result, 2)},
		.width = COLUMNS,
		.rows = ROWS,
	};
	char *text = NULL;
	size_t size;
	FILE *lines = open_memstream(&text, &size);
	insist(lines != NULL, "memory");
	ctl_top_write(lines, &view);
	fclose(lines);
	for (char *line = text; *line != '\0';) {
		size_t length = strcspn(line, "\n");
		insist(length <= (size_t)COLUMNS + 1 || !printable_is(line), "no line is wider than the view");
		fprintf(out, "%.*s\n", (int)length - (*line == CTL_TOP_HEADING), line + (*line == CTL_TOP_HEADING));
		line += length + (line[length] == '\n');
	}
	free(text);
}

static void print_client(FILE *out, json_t *result)
{
	client_command_print_status(out, result);
}

static void print_json(FILE *out, json_t *result)
{
	ctl_print_json(out, result);
}

static void (*const prints[])(FILE *out, json_t *result) = {
	ctl_print_status, print_stages,	    print_top,	  ctl_print_identity, ctl_print_kick,
	ctl_print_peer,	  ctl_print_reload, print_client, ctl_print_stages,   print_json,
};

static void check_lines(char *text)
{
	for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
		insist(printable_is(line), "a terminal obeys nothing in what is printed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error error = {0};
	json_t *result = NULL;
	if (size < 1)
		return 0;
	int code = ctl_answer_parse((const char *)data + 1, size - 1, "fuzz.sock", &result, &error);
	insist(code <= 0, "failures are negative");
	if (code != 0) {
		insist(error.text[0] != '\0', "an error has a text");
		return 0;
	}
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	insist(out != NULL, "memory");
	prints[data[0] % ARRAY_SIZE(prints)](out, result);
	insist(fclose(out) == 0 && strlen(text) == length, "it is text");
	check_lines(text);
	free(text);
	json_decref(result);
	return 0;
}
