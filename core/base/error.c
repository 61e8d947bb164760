// SPDX-License-Identifier: Apache-2.0
#include "core/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

int error_set(struct error *error, int code, const char *format, ...)
{
	if (error != NULL) {
		va_list args;
		va_start(args, format);
		vsnprintf(error->text, sizeof error->text, format, args);
		va_end(args);
	}
	return code;
}

int error_prefix(struct error *error, int code, const char *format, ...)
{
	if (error != NULL) {
		char old[sizeof error->text];
		memcpy(old, error->text, sizeof old);
		va_list args;
		va_start(args, format);
		int used = vsnprintf(error->text, sizeof error->text, format, args);
		va_end(args);
		if (used >= 0 && (size_t)used < sizeof error->text)
			snprintf(error->text + used, sizeof error->text - (size_t)used, "%s", old);
	}
	return code;
}

int error_open(struct error *error, const char *path, const char *what)
{
	int code = errno;
	if (code != EACCES)
		return error_set(error, -code, "%s: %s (%s)", path, what, strerror(code));
	return error_set(error, -code, "%s: %s (%s); user ID %u, as which we run, must be able to read it", path, what,
			 strerror(code), (unsigned)geteuid());
}
