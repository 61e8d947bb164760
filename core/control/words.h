// SPDX-License-Identifier: Apache-2.0
/* The words that follow a command in a request of the control socket: options and their values. Each function returns
 * 0, or -EINVAL with the offending word in `error`. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "crypto/keys.h"

/* An option that a command knows, and where its value goes: NULL before. */
struct word_option {
	const char *name;
	const char **value;
};

/* Options with their values, in any order and each once. */
int words_options(char *const *words, size_t count, const struct word_option *options, size_t option_count,
		  struct error *error);

/* NULL leaves the value as it is. */
int words_number(const char *option, const char *text, uint32_t *value, struct error *error);
int words_address(const char *text, struct ip_address *address, struct error *error);

int words_key(const char *text, uint8_t key[KEY_SIZE], struct error *error);

/* Returns `result`; when it is NULL, with `error` set. */
json_t *words_no_memory_unless(json_t *result, struct error *error);
