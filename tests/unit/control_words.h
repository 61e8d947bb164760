// SPDX-License-Identifier: Apache-2.0
/* Requests of a control socket, given to handlers as it gives them. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/control/control.h"

enum { CONTROL_WORDS_MAX = 64 };

struct control_words {
	char text[CONTROL_REQUEST_MAX];
	char *words[CONTROL_WORDS_MAX];
	size_t count;
};

/* The words of a line, which are in *words. */
static inline void control_words_of(const char *line, struct control_words *words)
{
	char *rest = NULL;
	words->count = 0;
	(void)snprintf(words->text, sizeof words->text, "%s", line);
	for (char *word = strtok_r(words->text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
		words->words[words->count++] = word;
}

/* What the handler of the line's command answers; the caller's. NULL with `error`. */
static inline json_t *control_words_answer(const struct control_command *commands, size_t command_count, void *context,
					   const char *line, struct error *error)
{
	struct control_words words;
	control_words_of(line, &words);
	for (size_t i = 0; i < command_count; i++) {
		if (strcmp(words.words[0], commands[i].name) == 0)
			return commands[i].handler(context, words.words + 1, words.count - 1, error);
	}
	cr_assert(false, "no such command: %s", line);
	return NULL;
}
