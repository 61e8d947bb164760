// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_sessions.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/cli/ctl.h"
#include "core/cli/ctl_text.h"

enum {
	PAGE = 1000,
	CELL_MAX = 64,
	STEP_LEAST = 1024, /* slots that a gateway searches at least before it returns an empty page */
};

/* --- the table ---------------------------------------------------------------------------------------------------- */

static const char *text_cell(const json_t *session, const char *key, char text[CELL_MAX])
{
	(void)text;
	return ctl_text(session, key);
}

static const char *address_cell(const json_t *session, const char *key, char text[CELL_MAX])
{
	(void)text;
	return ctl_text_of(json_array_get(json_object_get(session, key), 0));
}

static const char *duration_cell(const json_t *session, const char *key, char text[CELL_MAX])
{
	return json_is_integer(json_object_get(session, key)) ? ctl_duration(text, ctl_number(session, key)) : "-";
}

static const char *bytes_cell(const json_t *session, const char *key, char text[CELL_MAX])
{
	return ctl_bytes(text, ctl_number(session, key));
}

static const char *count_cell(const json_t *session, const char *key, char text[CELL_MAX])
{
	return ctl_count(text, ctl_number(session, key));
}

static const char *rate_cell(const json_t *session, const char *key, char text[CELL_MAX])
{
	static const char *const units[] = {"", "K", "M", "G"};
	uint64_t rate = ctl_number(session, key);
	size_t unit = 0;
	for (; unit + 1 < ARRAY_SIZE(units) && rate != 0 && rate % 1000 == 0; unit++)
		rate /= 1000;
	if (rate == 0)
		return "-";
	(void)snprintf(text, CELL_MAX, "%" PRIu64 "%s", rate, units[unit]);
	return text;
}

/* As a configuration has it: "100G/month". */
static const char *quota_cell(const json_t *session, const char *key, char text[CELL_MAX])
{
	static const char *const units[] = {"", "K", "M", "G", "T"};
	uint64_t bytes = ctl_number(session, key);
	size_t unit = 0;
	for (; unit + 1 < ARRAY_SIZE(units) && bytes != 0 && bytes % 1024 == 0; unit++)
		bytes /= 1024;
	if (bytes == 0)
		return "-";
	(void)snprintf(text, CELL_MAX, "%" PRIu64 "%s/%.16s", bytes, units[unit], ctl_text(session, "quota_period"));
	return text;
}

static const char *used_cell(const json_t *session, const char *key, char text[CELL_MAX])
{
	return json_is_integer(json_object_get(session, key)) ? bytes_cell(session, key, text) : "-";
}

static const struct column {
	const char *title, *key;
	const char *(*cell)(const json_t *session, const char *key, char text[CELL_MAX]);
	bool right;
} columns[] = {
	{"session", "id", text_cell, false},
	{"name", "name", text_cell, false},
	{"peer", "peer", text_cell, false},
	{"address", "addresses", address_cell, false},
	{"endpoint", "endpoint", text_cell, false},
	{"protocol", "protocol", text_cell, false},
	{"state", "state", text_cell, false},
	{"worker", "worker", count_cell, true},
	{"connected", "connected_seconds", duration_cell, true},
	{"idle", "idle_seconds", duration_cell, true},
	{"received", "rx_bytes", bytes_cell, true},
	{"sent", "tx_bytes", bytes_cell, true},
	{"up to", "rate_up", rate_cell, true},
	{"down to", "rate_down", rate_cell, true},
	{"used", "quota_used", used_cell, true},
	{"quota", "quota", quota_cell, true},
	{"rekeys", "rekeys", count_cell, true},
	{"roams", "roams", count_cell, true},
};

struct table {
	FILE *out;
	bool json, begun;
	int widths[ARRAY_SIZE(columns)];
};

static void widen(struct table *table, size_t column, const char *text)
{
	int width = (int)strlen(text);
	if (width > table->widths[column])
		table->widths[column] = width;
}

static void print_cell(const struct table *table, size_t column, const char *text)
{
	bool last = column + 1 == ARRAY_SIZE(columns);
	int width = table->widths[column];
	fprintf(table->out, "%*s%s", columns[column].right ? width : -width, text, last ? "\n" : "  ");
}

/* Columns only grow from page to page. */
static void print_rows(struct table *table, json_t *sessions)
{
	size_t i;
	json_t *session;
	char text[CELL_MAX];
	for (size_t c = 0; c < ARRAY_SIZE(columns); c++) {
		widen(table, c, columns[c].title);
		json_array_foreach (sessions, i, session)
			widen(table, c, columns[c].cell(session, columns[c].key, text));
	}
	for (size_t c = 0; !table->begun && c < ARRAY_SIZE(columns); c++)
		print_cell(table, c, columns[c].title);
	json_array_foreach (sessions, i, session) {
		for (size_t c = 0; c < ARRAY_SIZE(columns); c++)
			print_cell(table, c, columns[c].cell(session, columns[c].key, text));
	}
}

/* One object a line. */
static void print_objects(struct table *table, json_t *sessions)
{
	size_t i;
	json_t *session;
	json_array_foreach (sessions, i, session) {
		fputs(table->begun || i != 0 ? ",\n  " : "\n  ", table->out);
		json_dumpf(session, table->out, 0);
	}
}

static void print_page(struct table *table, json_t *sessions)
{
	if (json_array_size(sessions) == 0)
		return;
	if (table->json)
		print_objects(table, sessions);
	else
		print_rows(table, sessions);
	table->begun = true;
}

static void print_end(const struct table *table, const json_t *next)
{
	if (table->json) {
		fputs(table->begun ? "\n], \"next\": " : "], \"next\": ", table->out);
		if (json_is_integer(next))
			fprintf(table->out, "%" JSON_INTEGER_FORMAT "}\n", json_integer_value(next));
		else
			fputs("null}\n", table->out);
		return;
	}
	if (!table->begun)
		fputs("no sessions\n", table->out);
	if (json_is_integer(next))
		fprintf(table->out, "there may be more: --from %" JSON_INTEGER_FORMAT "\n", json_integer_value(next));
}

static int ask(struct ctl_target *target, const struct ctl_sessions *wanted, uint64_t from, uint64_t left,
	       json_t **page, struct error *error)
{
	char *request;
	if (asprintf(&request, "sessions --from %" PRIu64 " --count %" PRIu64 "%s", from, left < PAGE ? left : PAGE,
		     wanted->filters) < 0)
		return error_set(error, -ENOMEM, "no memory for the request");
	int code = ctl_request(target, request, page, error);
	free(request);
	return code;
}

static bool is_progress(uint64_t from, json_int_t next, size_t found)
{
	uint64_t step = found != 0 ? 1 : STEP_LEAST;
	return next >= 0 && next <= UINT32_MAX && (uint64_t)next >= from + step;
}

int ctl_sessions_print(FILE *out, struct ctl_target *target, const struct ctl_sessions *wanted, bool json,
		       struct error *error)
{
	struct table table = {.out = out, .json = json};
	json_t *page = NULL, *next = NULL;
	uint64_t from = wanted->from, left = wanted->count;
	do {
		json_decref(page);
		int code = ask(target, wanted, from, left, &page, error);
		if (code != 0)
			return code;
		if (json && !table.begun && from == wanted->from)
			fputs("{\"sessions\": [", out);
		json_t *sessions = json_object_get(page, "sessions");
		print_page(&table, sessions);
		size_t count = json_array_size(sessions);
		left = count < left ? left - count : 0;
		next = json_object_get(page, "next");
		/* The answer is not trusted: slots that do not rise, or rise in small steps without sessions, would
		 * make this loop endless. */
		if (json_is_integer(next) && !is_progress(from, json_integer_value(next), count))
			break;
		from = ctl_number(page, "next");
	} while (json_is_integer(next) && left > 0);
	print_end(&table, next);
	json_decref(page);
	return 0;
}
