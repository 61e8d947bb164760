// SPDX-License-Identifier: Apache-2.0
#include "core/control/words.h"

#include <stdlib.h>
#include <string.h>

json_t *words_no_memory_unless(json_t *result, struct error *error)
{
	if (result == NULL)
		error_set(error, -ENOMEM, "out of memory");
	return result;
}

static const char **option_value(const struct word_option *options, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(options[i].name, name) == 0)
			return options[i].value;
	}
	return NULL;
}

int words_options(char *const *words, size_t count, const struct word_option *options, size_t option_count,
		  struct error *error)
{
	for (size_t i = 0; i < count; i += 2) {
		const char **value = option_value(options, option_count, words[i]);
		if (value == NULL)
			return error_set(error, -EINVAL, "%.64s: unexpected here", words[i]);
		if (i + 1 == count)
			return error_set(error, -EINVAL, "%s: a value is missing", words[i]);
		if (*value != NULL)
			return error_set(error, -EINVAL, "%s: given twice", words[i]);
		*value = words[i + 1];
	}
	return 0;
}

int words_number(const char *option, const char *text, uint32_t *value, struct error *error)
{
	if (text == NULL)
		return 0;
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || number > UINT32_MAX)
		return error_set(error, -EINVAL, "%s %.32s: not a number from 0 to 4294967295", option, text);
	*value = (uint32_t)number;
	return 0;
}

int words_address(const char *text, struct ip_address *address, struct error *error)
{
	if (text != NULL && !ip_address_parse(text, address))
		return error_set(error, -EINVAL, "--address %.64s: no IP address", text);
	return 0;
}

int words_key(const char *text, uint8_t key[KEY_SIZE], struct error *error)
{
	if (!key_parse(text, key))
		return error_set(error, -EINVAL, "%.64s: no public key, which is 44 characters of base64", text);
	return 0;
}
