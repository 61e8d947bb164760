// SPDX-License-Identifier: Apache-2.0
#include "config/peek.h"

#include <string.h>
#include <strings.h>

#include "config/ini.h"

struct peek {
	const char *path;
	char *user;
	bool inside; /* of [Gateway] */
	struct error *error;
};

enum { SEEN = -ECANCELED }; /* what is after it is of no interest */

static int on_section(void *context, const char *name, unsigned line)
{
	struct peek *peek = context;
	(void)line;
	if (peek->inside)
		return SEEN;
	peek->inside = strcasecmp(name, "Gateway") == 0;
	return 0;
}

static int on_setting(void *context, const char *key, char *value, unsigned line)
{
	struct peek *peek = context;
	if (!peek->inside || strcasecmp(key, "User") != 0)
		return 0;
	reader_cut_comment(value);
	if (strlen(value) >= CONFIG_USER_SIZE)
		return error_set(peek->error, -EINVAL, "%s:%u: User: the name is too long", peek->path, line);
	memcpy(peek->user, value, strlen(value) + 1);
	return SEEN;
}

int config_peek_user(const char *path, char user[CONFIG_USER_SIZE], struct error *error)
{
	static const struct reader_handlers handlers = {.section = on_section, .setting = on_setting};
	struct peek peek = {.path = path, .user = user, .error = error};
	static const char automatic[] = "auto";
	memcpy(user, automatic, sizeof automatic);
	int result = reader_run(path, false, &handlers, &peek, error);
	return result == SEEN ? 0 : result;
}
