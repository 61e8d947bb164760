// SPDX-License-Identifier: Apache-2.0
/* Building JSON (jansson) straight down, without a check after each step. */
#pragma once

#include <jansson.h>
#include <stdint.h>

/* Both take `value` over, and turn the whole into NULL when there is no memory; on NULL they only drop the value. So a
 * report is built straight down and ends as NULL whatever failed in it. */
static inline void put(json_t **object, const char *key, json_t *value)
{
	if (json_object_set_new(*object, key, value) != 0) {
		json_decref(*object);
		*object = NULL;
	}
}

static inline void append(json_t **array, json_t *value)
{
	if (json_array_append_new(*array, value) != 0) {
		json_decref(*array);
		*array = NULL;
	}
}

static inline json_t *number(uint64_t value)
{
	return json_integer(value < INT64_MAX ? (json_int_t)value : INT64_MAX);
}
