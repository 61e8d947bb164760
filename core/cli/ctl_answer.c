// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_answer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/base/printable.h"

enum { ESCAPED = 4 /* bytes of \xNN */ };

/* Checked before parsing: the parser allocates about 100 bytes for each "[]". */
static bool is_moderate(const char *text, size_t length)
{
	size_t values = 0;
	int depth = 0;
	bool quoted = false;
	for (size_t i = 0; i < length; i++) {
		char c = text[i];
		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']'))
			depth--;
		values += !quoted && (c == '{' || c == '[' || c == ',');
		if (depth > CTL_ANSWER_DEPTH || values > CTL_ANSWER_VALUES)
			return false;
	}
	return true;
}

static bool escape_string(json_t *string)
{
	const char *text = json_string_value(string);
	if (printable_is(text))
		return true;
	size_t room = ESCAPED * strlen(text) + 1;
	char *escaped = malloc(room);
	if (escaped == NULL)
		return false;
	printable_copy(escaped, room, text);
	bool done = json_string_set(string, escaped) == 0;
	free(escaped);
	return done;
}

/* In place. False: a name is not printable, so this is not shardtun, or there is no memory. is_moderate() bounds the
 * recursion. */
static bool escape_texts(json_t *value)
{
	const char *name;
	size_t i;
	json_t *member;
	if (json_is_string(value))
		return escape_string(value);
	json_array_foreach (value, i, member) {
		if (!escape_texts(member))
			return false;
	}
	json_object_foreach (value, name, member) {
		if (!printable_is(name) || !escape_texts(member))
			return false;
	}
	return true;
}

int ctl_answer_parse(const char *text, size_t length, const char *path, json_t **result, struct error *error)
{
	json_t *answer = is_moderate(text, length) ? json_loadb(text, length, 0, NULL) : NULL;
	const char *refusal = json_string_value(json_object_get(answer, "error"));
	json_t *value = json_object_get(answer, "result");
	int code = 0;
	if (refusal != NULL && refusal[0] != '\0') /* cli_fail() escapes it */
		code = error_set(error, -EREMOTEIO, "%s", refusal);
	else if (value != NULL && escape_texts(value))
		*result = json_incref(value);
	else
		code = error_set(error, -EPROTO, "%s: the answer is cut short or from something else than shardtun",
				 path);
	json_decref(answer);
	return code;
}
