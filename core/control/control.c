// SPDX-License-Identifier: Apache-2.0
#include "core/control/control.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	ARGUMENTS_MAX = 64,	    /* words of a request */
	JSON_FORMAT = JSON_COMPACT, /* reals with ten digits: tenths of ns up to a second */
	JSON_DIGITS = 10,
};

struct control {
	struct control_params params;
	struct line_server *server;
	struct line_connection *asking; /* whose handler runs */
	bool deferred;			/* it defers its answer */
};

/* --- requests and answers ----------------------------------------------------------------------------------------- */

/* Takes `member` over. NULL: no memory. */
static char *format_answer(bool ok, const char *key, json_t *member)
{
	char *text = NULL;
	json_t *document = json_pack("{s:b, s:o}", "ok", ok, key, member);
	char *json = json_dumps(document, JSON_FORMAT | JSON_REAL_PRECISION(JSON_DIGITS));
	if (json != NULL && asprintf(&text, "%s\n", json) < 0)
		text = NULL;
	free(json);
	json_decref(document);
	return text;
}

static char *format_error(struct error *error)
{
	/* The text may quote a file name, which need not be UTF-8, while JSON is. */
	json_t *text = json_string(error->text);
	if (text == NULL) {
		for (char *c = error->text; *c != '\0'; c++)
			*c = (*c & 0x80) != 0 ? '?' : *c;
		text = json_string(error->text);
	}
	return format_answer(false, "error", text);
}

static json_t *help_result(const struct control_params *params)
{
	json_t *help = json_object();
	for (size_t i = 0; i < params->command_count; i++)
		json_object_set_new(help, params->commands[i].name, json_string(params->commands[i].help));
	return help;
}

static json_t *run_words(const struct control_params *params, char *const *words, size_t count, struct error *error)
{
	if (count == 0) {
		error_set(error, -EINVAL, "the request is empty; \"help\" lists the commands");
		return NULL;
	}
	for (size_t i = 0; i < params->command_count; i++) {
		const struct control_command *command = &params->commands[i];
		if (strcmp(words[0], command->name) == 0)
			return command->handler(params->context, words + 1, count - 1, error);
	}
	if (strcmp(words[0], "help") == 0)
		return help_result(params);
	error_set(error, -EINVAL, "unknown command \"%.32s\"; \"help\" lists the commands", words[0]);
	return NULL;
}

/* `line` is a terminated copy of its own that the words point into. */
static json_t *run_line(const struct control_params *params, char *line, size_t length, struct error *error)
{
	for (size_t i = 0; i < length; i++) {
		if (line[i] < ' ' || line[i] > '~') {
			error_set(error, -EINVAL, "the request has bytes that are not printable ASCII");
			return NULL;
		}
	}
	char *words[ARGUMENTS_MAX], *rest = NULL;
	size_t count = 0;
	for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		if (count == ARGUMENTS_MAX) {
			error_set(error, -E2BIG, "the request has more than %d words", ARGUMENTS_MAX);
			return NULL;
		}
		words[count++] = word;
	}
	return run_words(params, words, count, error);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

/* Takes `text` over. */
static void answer(struct line_connection *connection, char *text)
{
	line_connection_answer(connection, text, text != NULL ? strlen(text) : 0);
}

static void take_line(void *context, struct line_connection *connection, char *line, size_t length)
{
	struct control *control = context;
	struct error error = {.text = "no memory for the answer"};
	control->asking = connection;
	control->deferred = false;
	json_t *result = run_line(&control->params, line, length, &error);
	control->asking = NULL;
	if (!control->deferred)
		answer(connection, result != NULL ? format_answer(true, "result", result) : format_error(&error));
}

static void refuse(void *context, struct line_connection *connection, enum line_failure failure)
{
	static const char *const reasons[] = {
		[LINE_TOO_LONG] = "the request is too long",
		[LINE_UNFINISHED] = "the request does not end with a newline",
		[LINE_LATE] = "no complete request within the time limit",
	};
	struct error error;
	(void)context;
	error_set(&error, -EPROTO, "%s", reasons[failure]);
	answer(connection, format_error(&error));
}

struct control_ticket control_defer(struct control *control)
{
	struct line_ticket ticket = line_connection_defer(control->asking);
	control->deferred = true;
	return (struct control_ticket){ticket.index, ticket.serial};
}

void control_answer(struct control *control, struct control_ticket ticket, json_t *result, struct error *error)
{
	const struct line_ticket line = {ticket.index, ticket.serial};
	struct line_connection *connection = line_server_resume(control->server, line);
	if (connection != NULL)
		answer(connection, result != NULL ? format_answer(true, "result", result) : format_error(error));
	else
		json_decref(result);
}

int control_fd(const struct control *control)
{
	return line_server_fd(control->server);
}

void control_poll(struct control *control)
{
	line_server_poll(control->server);
}

void control_finish(struct control *control, int limit_ms)
{
	line_server_finish(control->server, limit_ms);
}

/* --- life cycle --------------------------------------------------------------------------------------------------- */

struct control *control_new(const struct control_params *params, struct error *error)
{
	static const struct line_handlers handlers = {.line = take_line, .refuse = refuse};
	struct control *control = calloc(1, sizeof *control);
	if (control == NULL) {
		error_set(error, -ENOMEM, "control socket %s: no memory", params->listener->address.sun_path);
		return NULL;
	}
	control->params = *params;
	/* Seeds its hash tables from /dev/urandom: now, while that can still be opened. */
	json_object_seed(0);
	const struct line_server_params lines = {
		.listener = params->listener, .handlers = &handlers, .context = control, .clock = params->clock};
	control->server = line_server_new(&lines, error);
	if (control->server == NULL) {
		free(control);
		return NULL;
	}
	return control;
}

void control_free(struct control *control)
{
	if (control == NULL)
		return;
	line_server_free(control->server);
	free(control);
}
